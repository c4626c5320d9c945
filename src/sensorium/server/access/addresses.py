"""Addresses and names: what is loopback, which names a certificate vouches for, what a Host header says."""

from __future__ import annotations

import re
import socket
import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.photos.files.names import printable

Address = IPv4Address | IPv6Address

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# RFC 9110 section 7.2 without the forms that no browser sends (user names, percent signs).
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{0,5}))?")


def parsed_address(text: str) -> Address | None:
    """An IP address, with or without brackets; an IPv4 address that came through IPv6 as itself."""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def is_loopback(host: str) -> bool:
    """Whether whatever listens on a host can be reached from this machine only.

    Raises SensoriumError for a name that means nothing here.
    """
    address = parsed_address(host)
    if address is not None:
        return address.is_loopback
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SensoriumError(
            f"--host {printable(host)} is neither an address nor a name known here"
        ) from error
    resolved = [parsed_address(str(entry[4][0])) for entry in found]
    return bool(resolved) and all(address is not None and address.is_loopback for address in resolved)


def is_loopback_client(address: str | None) -> bool:
    """Whether the other end of a connection is on this machine."""
    parsed = parsed_address(address or "")
    return parsed is not None and parsed.is_loopback


def group_of(address: str | None) -> str:
    """Under what a client is counted: its address, or the network of an IPv6 household."""
    parsed = parsed_address(address or "")
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


def host_name(text: str) -> str:
    """A name from the command line as a Host header will spell it. Raises SensoriumError when it is none."""
    name = text.strip().rstrip(".").lower()
    address = parsed_address(name)
    if address is not None:
        return str(address)
    try:
        name = name.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not name or _HOST.fullmatch(name) is None or ":" in name:
        raise SensoriumError(f"{printable(text)} is no host name: give one like photos.example.org")
    return name


def names_of_machine() -> set[str]:
    """What this machine calls itself, if that can be a host name."""
    try:
        return {host_name(socket.gethostname())}
    except SensoriumError:
        return set()


def host_of_header(value: str) -> str | None:
    """The host that a Host header or the authority of an Origin names, in lower case; None when malformed."""
    match = _HOST.fullmatch(value)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    host = match["host"].lower().rstrip(".")
    if not host.startswith("["):
        return host or None
    address = parsed_address(host)
    return None if address is None else str(address)


def names_fit(host: str, names: frozenset[str]) -> bool:
    """Whether a host is among names, of which ``*.example.org`` stands for one label more."""
    return host in names or f"*.{host.partition('.')[2]}" in names


def names_of_certificate(certificate: Path, key: Path | None) -> set[str]:
    """The DNS names and addresses that a PEM certificate is for; refused when it cannot be used with its key.

    Raises SensoriumError with one line.
    """
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a function for the passphrase, OpenSSL would ask for it on the terminal and wait.
        context.load_cert_chain(certificate, key, password=lambda: "")
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SensoriumError(_why_unusable(certificate, key, error)) from error
    if parsed.not_valid_after_utc < datetime.now(UTC):
        raise SensoriumError(f"the certificate {printable(certificate)} has expired: renew it")
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    names = {name.lower() for name in extension.get_values_for_type(x509.DNSName)}
    return names | {str(address) for address in extension.get_values_for_type(x509.IPAddress)}


def _why_unusable(certificate: Path, key: Path | None, error: Exception) -> str:
    for file in (certificate, key or certificate):
        try:
            file.read_bytes()
        except OSError as unreadable:
            return f"cannot read {printable(file)}: {unreadable.strerror}"
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"the key {printable(key or certificate)} does not belong to {printable(certificate)}"
    return (
        f"{printable(certificate)} with {printable(key or certificate)} is no certificate with its key: "
        "both must be PEM files, the key without a passphrase"
    )
