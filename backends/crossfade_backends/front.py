"""The front end: a page on which a visitor enters a customer, and sees which version answers and why.

`python -m crossfade_backends.front --proxy http://127.0.0.1:8080 --admin http://127.0.0.1:9901`. The page asks this server only, which
asks the proxy and its admin API; so a token of the admin API stays here. One with the role `viewer` is enough.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, web

from crossfade_backends.front_asking import Asking, Places
from crossfade_backends.page_files import PageFiles
from crossfade_backends.replies import json_reply, refuse, render_refusals
from crossfade_backends.rows import CustomerRow, parse_body
from crossfade_backends.server import parse_port, start_server

_TIMEOUT = ClientTimeout(total=20)
_MAX_BODY = 64 * 1024
PAGE = PageFiles("front.html", "front.js", "pages.css")
ASKING = web.AppKey("asking", Asking)


async def show_live(request: web.Request) -> web.Response:
    return json_reply(await request.app[ASKING].live())


async def ask(request: web.Request) -> web.Response:
    # A form of another site cannot send this type without asking first, and is not allowed to.
    if request.content_type != "application/json":
        raise refuse(415, "the body must be application/json")
    row = parse_body(CustomerRow, await request.read())
    return json_reply(await request.app[ASKING].ask(row.model_dump()))


def create_app(places: Places) -> web.Application:
    async def with_session(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(timeout=_TIMEOUT) as session:
            app[ASKING] = Asking(session, places)
            yield

    app = web.Application(middlewares=[render_refusals], client_max_size=_MAX_BODY)
    app.cleanup_ctx.append(with_session)
    app.add_routes(
        [
            web.get("/", PAGE.show),
            web.get("/files/{file}", PAGE.show),
            web.get("/live", show_live),
            web.post("/ask", ask),
        ]
    )
    return app


async def serve(places: Places, host: str, port: int) -> int:
    """Serves until SIGTERM or SIGINT."""
    try:
        runner, url = await start_server(create_app(places), host, port)
    except OSError as error:
        print(f"error: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"listening on {url}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await runner.cleanup()
    return 0


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://127.0.0.1:8080")
    return text.rstrip("/")


def _parse_path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with /")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.front",
        description="Serve a page that shows which version answers a customer, and why.",
        epilog="The token of the admin API comes from CROSSFADE_ADMIN_TOKEN; the role `viewer` is enough.",
    )
    parser.add_argument("--proxy", type=_parse_url, default=Places.proxy, help="%(default)s")
    parser.add_argument("--admin", type=_parse_url, default=Places.admin, help="%(default)s")
    parser.add_argument("--route", default=Places.route, help="the proxy's route (%(default)s)")
    parser.add_argument(
        "--path", type=_parse_path, default=Places.path, help="of predictions at the proxy (%(default)s)"
    )
    parser.add_argument(
        "--model-path", type=_parse_path, default=Places.model_path, help="of predictions at a model server"
    )
    parser.add_argument("--host", default="127.0.0.1", help="%(default)s")
    parser.add_argument("--port", type=parse_port, default=8090, help="%(default)s; 0 selects a free port")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    token = os.environ.get("CROSSFADE_ADMIN_TOKEN", "")
    places = Places(options.proxy, options.admin, options.route, options.path, options.model_path, token)
    return asyncio.run(serve(places, options.host, options.port))


if __name__ == "__main__":
    sys.exit(main())
