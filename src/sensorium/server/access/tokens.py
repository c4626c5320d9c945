"""Secrets that let someone in: 256 random bits, shown once, kept as their SHA-256.

A secret is written ``sns_ID_REST``: the identifier finds its row without comparing secrets, the rest is
compared in constant time. A plain hash is right for it: slow hashes protect guessable passwords, and 256
random bits are not guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

_SECRET = re.compile(r"sns_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class Role(StrEnum):
    """What someone may do; each role includes those before it."""

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do whatever another may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A secret at the one moment at which it is known."""

    id: str
    secret: str
    digest: bytes


def fresh() -> Fresh:
    """Make a secret."""
    identifier = secrets.token_hex(8)
    secret = f"sns_{identifier}_{secrets.token_urlsafe(32)}"
    return Fresh(identifier, secret, digest(secret))


def digest(secret: str) -> bytes:
    """What is kept of a secret [32 bytes]."""
    return hashlib.sha256(secret.encode()).digest()


def identifier(secret: str) -> str | None:
    """The identifier that a secret names; None when it is no secret of ours."""
    match = _SECRET.fullmatch(secret)
    return None if match is None else match[1]


def matches(secret: str, kept: bytes) -> bool:
    """Whether a secret is the one that a digest was made of; takes as long for a wrong one."""
    return hmac.compare_digest(digest(secret), kept)
