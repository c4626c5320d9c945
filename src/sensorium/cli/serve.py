"""``sensorium serve``: the photo library in a browser.

Exit codes: 0 ended by Ctrl-C; 2 a bad request, such as a port that is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.options import LibraryOption
from sensorium.weights import ASK_MODEL, CUT_MODEL

if TYPE_CHECKING:
    from sensorium.server.running import Ready


def register(app: typer.Typer) -> None:
    """Add the command to the application's top level."""
    app.command("serve")(serve)


def serve(
    library: LibraryOption = None,
    host: Annotated[
        str,
        typer.Option("--host", metavar="H", help="Address to listen on; elsewhere than here it takes TLS."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=0, max=65535, help="0: any free one.")
    ] = 8765,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="PEM certificate for TLS.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="PEM key of the certificate.", show_default=False),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--host-name",
            metavar="NAME",
            help="A name by which browsers ask for this server, besides the certificate's.",
            show_default=False,
        ),
    ] = None,
    sign_in: Annotated[
        bool, typer.Option("--sign-in", help="Demand a token on this machine, too: it has many users.")
    ] = False,
    without_tls: Annotated[
        bool,
        typer.Option(
            "--without-tls",
            help="Listen elsewhere in the clear: a proxy or a tunnel encrypts, else tokens can be read.",
        ),
    ] = False,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another administrator's token, and show it.")
    ] = False,
    cut_model: Annotated[
        str, typer.Option("--cut-model", metavar="NAME", help="The model that cuts things out of photos.")
    ] = CUT_MODEL,
    ask_model: Annotated[
        str,
        typer.Option("--ask-model", metavar="NAME", help="The model that answers questions about photos."),
    ] = ASK_MODEL,
    editor: Annotated[
        str | None,
        typer.Option(
            "--editor",
            metavar="PROGRAM",
            help='Image editor of this machine to which the page sends cut-outs: gimp, "open -a Preview".',
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
) -> None:
    """Show the photo library in a browser, on this machine or, with a token, on others."""
    from sensorium.photos.files.names import printable
    from sensorium.photos.library import default_folder
    from sensorium.server import running
    from sensorium.server.pictures import editing
    from sensorium.server.settings import ServerSettings

    folder = (library.expanduser() if library is not None else default_folder()).absolute()
    settings = ServerSettings(
        library=folder,
        host=host,
        port=port,
        certificate=certificate,
        key=key,
        host_names=tuple(host_name or ()),
        sign_in=sign_in,
        without_tls=without_tls,
        watch=True,
        ahead=5.0,
        cut_model=cut_model,
        ask_model=ask_model,
        editor=editing.command_of(editor) if editor is not None else (),
    )

    def ready(server: Ready) -> None:
        if server.token is not None:
            typer.echo(f"sign in with this token, which is shown only now: {server.token}")
        typer.echo(f"{printable(folder)} is at {server.url} (Ctrl-C ends it)")
        if open_page:
            _open_in_browser(server.url)

    running.run(settings, ready, new_token=new_token)


def _open_in_browser(url: str) -> None:
    import threading
    import webbrowser

    # A browser of the terminal would hold the server up.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
