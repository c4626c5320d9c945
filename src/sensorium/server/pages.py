"""The page: static files with their types and ETags, and ``index.html`` for every address that it knows.

The page has no build step, so its files keep their names from one release to the next. To let browsers keep
them for ever all the same, ``index.html`` names them below ``/web/~DIGEST/``, where the digest is that of the
whole folder: modules import each other by relative addresses and so inherit it. Without a digest a file is
asked for again each time, and mostly answered by 304.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import Scope

FOLDER = Path(__file__).parent / "web"

PAGES = (
    "/",
    "/search",
    "/photo/{rest:path}",
    "/map",
    "/people",
    "/people/{rest:path}",
    "/albums",
    "/albums/{rest:path}",
    "/favourites",
    "/hidden",
    "/duplicates",
    "/videos",
    "/health",
    "/settings",
    "/sign-in",
    "/share/{rest:path}",
)
"""Addresses that the page's own router understands."""

# What is served and as what: the system's table of types may lack some, and `nosniff` believes us.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
# For whoever works on the page; not part of it.
_NOT_SERVED = frozenset({"node_modules", "tools", "package.json", "package-lock.json", "tsconfig.json"})

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


def routes(folder: Path = FOLDER) -> list[BaseRoute]:
    """The routes of the page."""
    site = Site(folder)
    files = GZipMiddleware(site, minimum_size=500, compresslevel=6)
    return [
        Mount("/web", app=files, name="web"),
        *(Route(path, site.page, methods=["GET"], include_in_schema=False) for path in PAGES),
    ]


class Site(StaticFiles):
    """The files of the page in a folder, and the page itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, check_dir=False)
        self.folder = folder

    async def page(self, _: Request) -> Response:
        """``index.html``, naming its files by their digest."""
        content = await anyio.to_thread.run_sync(self._index)
        if content is None:
            raise HTTPException(
                404, "this installation has no page: the files of sensorium/server/web are missing"
            )
        return Response(content, media_type="text/html", headers={"cache-control": _ASK_AGAIN})

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the answer that there is none."""
        asked = PurePath(path)
        kept = path.startswith("~")
        if kept:
            # Another digest is that of another release, whose files must not be kept under it.
            kept = asked.parts[0] == f"~{await anyio.to_thread.run_sync(self._digest)}"
            asked = PurePath(*asked.parts[1:])
        if _is_hidden(asked):
            raise HTTPException(404)
        response = await super().get_response(str(asked), scope)
        response.headers["cache-control"] = _FOR_EVER if kept else _ASK_AGAIN
        if response.status_code == 200:
            response.headers["content-type"] = _TYPES[asked.suffix]
        return response

    def _index(self) -> bytes | None:
        try:
            content = (self.folder / "index.html").read_bytes()
        except OSError:
            return None
        return content.replace(b'"/web/', b'"/web/~%s/' % self._digest().encode())

    def _digest(self) -> str:
        """Another one whenever a file was added, removed or changed; some tenths of a millisecond."""
        told = hashlib.blake2b(digest_size=8)
        for place, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in _NOT_SERVED)
            for name in sorted(names):
                status = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118 - three times as fast
                told.update(f"{place}/{name}/{status.st_size}/{status.st_mtime_ns}\0".encode())
        return told.hexdigest()


def _is_hidden(path: PurePath) -> bool:
    """Whether a path below the folder leads to something that is not part of the page."""
    named = any(part in _NOT_SERVED or part.startswith(".") for part in path.parts)
    return named or path.is_absolute() or path.suffix not in _TYPES
