"""Asks the proxy with OpenAI's own client: OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python client.py."""

from __future__ import annotations

import sys

from openai import OpenAI


def main(user: str) -> None:
    """Prints each word as it comes, and then the model."""
    model = ""
    with OpenAI() as client:
        stream = client.chat.completions.create(
            model="small", user=user, stream=True, messages=[{"role": "user", "content": "How are you?"}]
        )
        for part in stream:
            model = part.model
            print(part.choices[0].delta.content or "", end="", flush=True)
    print(f"\n({model})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "C1")
