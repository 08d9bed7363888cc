"""The dashboard's files: the page at `/`, and what it loads from `/static/`. It loads nothing else.

Rule: the files of the package are read once, at the start. A browser keeps them and asks each time whether they are still the same.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from pathlib import Path

import msgspec
from aiohttp import ETag, web

from crossfade.admin.operation import Operation
from crossfade.admin.roles import Role

FOLDER = Path(__file__).parent / "dashboard"
PAGE = "index.html"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
KEPT = "no-cache"  # kept, and asked for again by its ETag


class StaticFile(msgspec.Struct, frozen=True):
    content: bytes
    media: str
    etag: str


class DashboardFiles:
    """The handlers. `files`: by the path below the folder, as `vendor/htm.mjs`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
        self.policy = _content_policy(self.files[PAGE].content.decode())

    async def page(self, request: web.Request) -> web.Response:
        response = _answer(request, self.files[PAGE])
        response.headers["Content-Security-Policy"] = self.policy
        return response

    async def file(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound(text=f"The dashboard has no file {request.match_info['file']}.")
        return _answer(request, found)


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    media = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    return StaticFile(content, media, hashlib.sha256(content).hexdigest()[:32])


def _answer(request: web.Request, file: StaticFile) -> web.Response:
    known = request.if_none_match or ()
    is_same = any(etag.value in (file.etag, "*") for etag in known)
    charset = None if file.media.startswith("image/") else "utf-8"
    response = (
        web.Response(status=304)
        if is_same
        else web.Response(body=file.content, content_type=file.media, charset=charset)
    )
    response.etag = ETag(file.etag)
    response.headers["Cache-Control"] = KEPT
    return response


def _content_policy(page: str) -> str:
    """Own scripts, styles and pictures, and the API of its own origin; nothing inline but the import map."""
    (inline,) = re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/",
        handler=DashboardFiles.page,
        role=Role.OPEN,
        summary="The dashboard",
        answer=str,
        media="text/html",
        query=None,
        has_etag=True,
    ),
    Operation(
        method="GET",
        path="/static/{file:.+}",
        handler=DashboardFiles.file,
        role=Role.OPEN,
        summary="A file of the dashboard",
        answer=str,
        media="text/javascript",
        query=None,
        has_etag=True,
    ),
)
