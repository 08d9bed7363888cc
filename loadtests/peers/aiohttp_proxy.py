"""A plain proxy written with aiohttp: `python -m loadtests.peers.aiohttp_proxy PORT A_PORT B_PORT`.

90 % of the customers go to A and 10 % to B, by a hash of X-Customer-Id. It runs on uvloop, with keep-alive
on both sides and without an access log, like the other proxies.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from zlib import crc32

import uvloop
from aiohttp import ClientResponse, ClientSession, TCPConnector, web
from multidict import CIMultiDict

# RFC 9110 section 7.6.1. Content-Length is set again from the body that was read.
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
}
_SESSION = web.AppKey("session", ClientSession)


def _end_to_end(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)


async def _stream(request: web.Request, answer: ClientResponse) -> web.StreamResponse:
    """Sends each part of the body when it arrives."""
    response = web.StreamResponse(status=answer.status, headers=_end_to_end(CIMultiDict(answer.headers)))
    await response.prepare(request)
    async for part in answer.content.iter_any():
        await response.write(part)
    await response.write_eof()
    return response


def _create_app(origin_a: str, origin_b: str) -> web.Application:
    async def forward(request: web.Request) -> web.StreamResponse:
        customer = request.headers.get("X-Customer-Id", "")
        origin = origin_b if crc32(customer.encode()) % 100 < 10 else origin_a
        headers = _end_to_end(CIMultiDict(request.headers))
        headers.add("X-Forwarded-For", request.remote or "")
        async with request.app[_SESSION].request(
            request.method,
            origin + request.raw_path,
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            if answer.content_type == "text/event-stream":
                return await _stream(request, answer)
            body = await answer.read()
            return web.Response(
                status=answer.status, headers=_end_to_end(CIMultiDict(answer.headers)), body=body
            )

    async def keep_session(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(connector=TCPConnector(limit=0), auto_decompress=False) as session:
            app[_SESSION] = session
            yield

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", forward)
    app.cleanup_ctx.append(keep_session)
    return app


def main(port: int, origin_a: int, origin_b: int) -> None:
    app = _create_app(f"http://127.0.0.1:{origin_a}", f"http://127.0.0.1:{origin_b}")
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
