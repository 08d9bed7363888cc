"""The files of the pages: part of the package, read at the start, served with a policy that lets nothing else in."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from crossfade_backends.replies import refuse

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageFiles:
    """The first file is the page; the others are below its path."""

    def __init__(self, *names: str) -> None:
        folder = files("crossfade_backends") / "pages"
        self.page = names[0]
        self.texts = {name: (folder / name).read_text(encoding="utf-8") for name in names}

    async def show(self, request: web.Request) -> web.Response:
        name = request.match_info.get("file", self.page)
        if name not in self.texts:
            raise refuse(404, f"no file {name!r} here")
        kind = _TYPES[name.rsplit(".", 1)[1]]
        return web.Response(text=self.texts[name], content_type=kind, charset="utf-8", headers=_HEADERS)
