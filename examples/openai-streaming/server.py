"""Two small models that stream as OpenAI's API does: `uvicorn server:small_1 --port 8001`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

PAUSE = 0.02  # seconds between two words


class Message(BaseModel):
    role: str
    content: str


class Chat(BaseModel):
    model: str
    messages: list[Message]
    stream: bool = False


def application(model: str, greeting: str) -> FastAPI:
    """Greets, and says the last message back."""
    app = FastAPI(title=model)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(chat: Chat) -> StreamingResponse | dict[str, Any]:
        if chat.model != model:
            raise HTTPException(404, f"there is no model {chat.model!r} here, only {model!r}")
        if not chat.messages:
            raise HTTPException(400, "messages: at least one")
        words = f"{greeting} You said: {chat.messages[-1].content}".split(" ")
        if chat.stream:
            return StreamingResponse(_events(model, words), media_type="text/event-stream")
        message = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        asked = sum(len(each.content.split()) for each in chat.messages)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": len(words),
            "total_tokens": asked + len(words),
        }
        return _document("chat.completion", model, choice) | {"usage": usage}

    return app


async def _events(model: str, words: list[str]) -> AsyncIterator[str]:
    """One event for each word, one that says why it ends, and `[DONE]`."""
    for index, word in enumerate(words):
        await asyncio.sleep(PAUSE)
        yield _event(model, {"content": f" {word}" if index else word}, None)
    yield _event(model, {}, "stop")
    yield "data: [DONE]\n\n"


def _event(model: str, delta: dict[str, str], reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps(_document('chat.completion.chunk', model, choice))}\n\n"


def _document(kind: str, model: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chat-1",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
    }


small_1 = application("small-1", "Hello.")
small_2 = application("small-2", "Good day.")
