"""What a server is told when it starts: where it listens, how it is reached, and whom it lets in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.server.access import addresses
from sensorium.weights import ASK_MODEL, CUT_MODEL

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765


@dataclass(frozen=True, slots=True)
class Patience:
    """How long clients may take, in seconds, and how many connections there may be.

    Attributes:
        head: From the start of a connection, or the end of the last request, until the next request is there
            with all of its headers.
        body: Longest wait for the next part of a request's body.
        answer: For the client to take some 50 kB that are ready for it.
        connections: At a time.
        of_one: Of one address at a time (of one network for IPv6), loopback excepted.
    """

    head: float = 15.0
    body: float = 20.0
    answer: float = 60.0
    connections: int = 600
    of_one: int = 150


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything the command line decides about a server.

    Attributes:
        library: The library's folder.
        host: Address or name to listen on.
        port: TCP port; 0 takes any free one.
        certificate: PEM file of the certificate and the chain behind it; with it the server speaks TLS only.
        key: PEM file of its private key; the certificate's own file when absent.
        host_names: Names by which browsers may ask for the server, besides those that ``names`` adds.
        sign_in: Demand a token on loopback, too: on a machine of many users, or behind a proxy.
        without_tls: Listen beyond loopback without TLS, because something else encrypts.
        watch: Follow the library's folders, as long as people want it.
        ahead: Seconds without a request after which small pictures are made ahead; None: never.
        cut_model: The name or the folder of the model that cuts things out of photos.
        ask_model: The same of the model that answers questions about photos.
        editor: The image editor of this machine and its arguments, to which cut-outs can be sent; else empty.
        patience: With slow clients, and with many.
        loopback: Whether only this machine reaches the server; follows from the host.
        names: Names and addresses by which it may be asked for, besides those of this machine.
    """

    library: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    key: Path | None = None
    host_names: tuple[str, ...] = ()
    sign_in: bool = False
    without_tls: bool = False
    watch: bool = False
    ahead: float | None = None
    cut_model: str = CUT_MODEL
    ask_model: str = ASK_MODEL
    editor: tuple[str, ...] = ()
    patience: Patience = Patience()
    loopback: bool = field(init=False)
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises SensoriumError with one line."""
        if self.key is not None and self.certificate is None:
            raise SensoriumError("--key without --certificate: give the certificate that belongs to the key")
        names = {addresses.host_name(name) for name in self.host_names}
        if self.certificate is not None:
            names |= addresses.names_of_certificate(self.certificate, self.key)
        loopback = addresses.is_loopback(self.host)
        if not loopback and self.certificate is None and not self.without_tls:
            raise SensoriumError(
                f"{self.host} is reached from other machines, where tokens and photos must not travel in the "
                "clear: give --certificate and --key, or say --without-tls when a proxy or a tunnel encrypts"
            )
        address = addresses.parsed_address(self.host)
        if address is None:
            names.add(addresses.host_name(self.host))
        elif address.is_unspecified:
            names |= addresses.names_of_machine()
        # Frozen for everybody else; these two follow from the rest.
        object.__setattr__(self, "loopback", loopback)
        object.__setattr__(self, "names", frozenset(names))
        if self.editor and not self.open_to_the_owner:
            raise SensoriumError(
                "--editor opens windows on this machine: it goes with a server that its owner alone reaches, "
                "without --host and --sign-in"
            )

    @property
    def tls(self) -> bool:
        """Whether the server itself encrypts."""
        return self.certificate is not None

    @property
    def open_to_the_owner(self) -> bool:
        """Whether whoever sits at this machine needs no token."""
        return self.loopback and not self.sign_in
