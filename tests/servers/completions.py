"""A small server of OpenAI's API for chat, completions and embeddings, with what it sends in memory.

Its client in the tests is OpenAI's own, which is strict about what it takes.
"""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

WORDS = ["The", " risk", " is", " low", "."]
VECTORS = [[0.5, -0.25, 1.0], [1.5, 0.0, -2.0]]
USAGE = {"prompt_tokens": 7, "completion_tokens": len(WORDS), "total_tokens": 7 + len(WORDS)}
PAUSE = 0.02  # seconds between two words


def answer(kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": choices} | more


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return answer("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": reason}])


async def chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    if asked.get("stream"):
        return await stream(request, fails=asked["model"] == "fails")
    text = "" if asked["model"] == "empty" else "".join(WORDS)
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return web.json_response(answer("chat.completion", choices, usage=USAGE))


async def stream(request: web.Request, fails: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await send(response, chunk({"role": "assistant", "content": ""}))
    for word in WORDS:
        await asyncio.sleep(PAUSE)
        await send(response, chunk({"content": word}))
        if fails:
            await send(response, {"error": {"message": "out of memory", "type": "server_error"}})
            return response
    await send(response, chunk({}, "stop"))
    await send(response, answer("chat.completion.chunk", [], usage=USAGE))
    await response.write(b"data: [DONE]\n\n")
    return response


async def send(response: web.StreamResponse, document: Any) -> None:
    await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")


async def complete(request: web.Request) -> web.Response:
    choices = [
        {"index": index, "text": text, "finish_reason": "length"} for index, text in enumerate(("no", "yes"))
    ]
    return web.json_response(answer("text_completion", choices, usage=USAGE))


async def embed(request: web.Request) -> web.Response:
    packed = (await request.json()).get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(struct.pack("<3f", *vector)).decode() if packed else vector,
        }
        for index, vector in enumerate(VECTORS)
    ]
    return web.json_response(
        {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    )


def response(text: str, status: str = "completed", usage: Any = None) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    said = message | {"content": [{"type": "output_text", "text": text, "annotations": []}]}
    made = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "error": None,
    }
    asked = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": None}
    return made | asked | {"output": [said] * bool(text), "incomplete_details": None, "usage": usage}


RESPONSE_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": len(WORDS),
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 7 + len(WORDS),
}


async def respond(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    whole = response("".join(WORDS), usage=RESPONSE_USAGE)
    if not asked.get("stream"):
        return web.json_response(whole)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response("", "in_progress")}]
    events += [{"type": "response.output_text.delta", "delta": word} | place for word in WORDS]
    if asked["model"] == "fails":
        events.append({"type": "error", "code": "server_error", "message": "out of memory", "param": None})
    else:
        events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        await asyncio.sleep(PAUSE)
        await answer.write(f"event: {event['type']}\n".encode())
        await send(answer, event | {"sequence_number": number})
    return answer


@asynccontextmanager
async def completions() -> AsyncIterator[int]:
    """Its port."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", complete)
    app.router.add_post("/v1/responses", respond)
    app.router.add_post("/v1/embeddings", embed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
