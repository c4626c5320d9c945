"""The ``sensorium`` command: puts the applications' commands together and turns errors into one line."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from typing import Annotated

import typer

import sensorium
from sensorium.cli import (
    ask,
    collections,
    cut,
    describe,
    library,
    models,
    people,
    photos,
    serve,
    train,
    watch,
)
from sensorium.errors import SensoriumError

app = typer.Typer(
    name="sensorium",
    help="A local-first multimodal assistant: find any photo by words, in English or Chinese.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
photos.register(app)
describe.register(app)
people.register(app)
collections.register(app)
serve.register(app)
watch.register(app)
train.register(app)
cut.register(app)
ask.register(app)
app.add_typer(library.app, name="library")
app.add_typer(models.app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sensorium {sensorium.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: a :class:`SensoriumError` becomes one line on stderr and its exit code."""
    warnings.filterwarnings("ignore", module="PIL")  # remarks of decoders; what matters becomes a reason
    # File names may hold bytes that are not text in the terminal's encoding; print them escaped.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SensoriumError as error:
        typer.echo(f"sensorium: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (such as `head`) has gone; silence the interpreter's own flush at exit as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run() -> None:
    """What the installed command calls: ``main`` in a process of its own, which begins and ends sooner.

    Looking for garbage while modules are imported, and OpenVINO's taking itself apart at the end, cost a
    search a fifth of its time. All files are closed by then. Where torch was at work the usual end is kept.
    """
    gc.set_threshold(100_000)
    code: str | int | None = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code
    if "torch" in sys.modules or not isinstance(code, int | None):
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code or 0)


if __name__ == "__main__":
    run()
