"""Streamed completions of OpenAI's API: chunks with `delta` or `text` for each choice, and `[DONE]` at the end.

Rule: a chunk with a role, a finish reason or a usage only has no content. The end is said by a finish reason for each
choice, or by `[DONE]` where no error came before it.
"""

from __future__ import annotations

from typing import Any, Final

from crossfade.quality.answer import Output
from crossfade.quality.openai import message_text, place_of, reason_of, usage_of
from crossfade.quality.outputs import MOST_OUTPUTS, RowBuilder
from crossfade.quality.unreadable import EMPTY, SIZE

_OF_CHUNKS: Final = ("object", "choices", "usage")


class Completion:
    """The choices so far, by their index."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.finish: dict[int, str] = {}
        self.about: dict[str, Any] = {}  # what the first chunk says beside its choices
        self.is_chat = False
        self.usage: Any = None
        self.prompt_tokens: int | None = None
        self.tokens: int | None = None
        self.too_many = False

    def takes(self, document: dict[str, Any]) -> bool:
        return "choices" in document

    def add(self, chunk: dict[str, Any]) -> bool:
        """Whether the chunk has content."""
        content = False
        self.about = self.about or {name: value for name, value in chunk.items() if name not in _OF_CHUNKS}
        choices = chunk.get("choices")
        for at, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                content = self._add_choice(place_of(choice, at), choice) or content
        if chunk.get("usage") is not None:  # some servers say it in each chunk: the last one counts
            self.usage = chunk["usage"]
            self.prompt_tokens, self.tokens = usage_of(self.usage)
        return content

    def _add_choice(self, place: int, choice: dict[str, Any]) -> bool:
        if place not in self.texts and len(self.texts) >= MOST_OUTPUTS:
            self.too_many = True
            return False
        texts = self.texts.setdefault(place, [])
        self.finish[place] = reason_of(choice.get("finish_reason")) or self.finish.get(place, "")
        delta = choice.get("delta")
        self.is_chat = self.is_chat or isinstance(delta, dict)
        text = message_text(delta) if isinstance(delta, dict) else choice.get("text")
        if not isinstance(text, str) or not text:
            return False
        texts.append(text)
        return True

    @property
    def finished(self) -> bool:
        return bool(self.finish) and all(self.finish.values())

    def add_rows(self, builder: RowBuilder, ended: bool) -> None:
        """One for each choice. What has not ended is not called empty."""
        for place in sorted(self.texts):
            text = "".join(self.texts[place])
            builder.add([Output("text", text)] if text else [EMPTY] if ended else [])
        if ended and not self.texts:
            builder.note(EMPTY)
        if self.too_many:
            builder.note(SIZE)

    def document(self) -> dict[str, Any]:
        """As if the answer had come whole, so that its fields are found at the same paths."""
        choices = []
        for place in sorted(self.texts):
            text = "".join(self.texts[place])
            said = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
            choices.append({"index": place, **said, "finish_reason": self.finish[place] or None})
        return {**self.about, "choices": choices, "usage": self.usage}

    def reasons(self) -> tuple[str, ...]:
        return tuple([self.finish[place] for place in sorted(self.finish)])
