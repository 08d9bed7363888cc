"""The pages on model servers: of the answer that a page shows, its route reads what the page says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from crossfade.config.load import load
from crossfade.quality.answer import RawAnswer
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.routing.compiling import compile_prediction
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.completing import completed, environment

HEAD = b"content-type: application/json\r\n"


def _answers() -> Iterator[tuple[Block, Block, Block]]:
    """The first YAML of the page, the answer, and what is read of it."""
    for page in sorted((ROOT / "docs/in-front-of").glob("*.md")):
        found = list(blocks_of(page.read_text("utf-8"), str(page.relative_to(ROOT))))
        config = next(block for block in found if block.language == "yaml")
        for answer, read in pairwise(found):
            if answer.says == "answer":
                yield config, answer, read


ANSWERS = list(_answers())


def _prediction(config: Block) -> Prediction:
    whole = completed(config.text, bool(config.indented))
    written = load(whole, str(config), environment(config.text)).config.routes[0].prediction
    assert written
    compiled = compile_prediction(written)
    assert compiled
    return compiled


@pytest.mark.parametrize(("config", "answer", "read"), ANSWERS, ids=lambda block: str(block))
def test_the_route_reads_what_the_page_says(config: Block, answer: Block, read: Block):
    target = answer.what.rpartition(" ")[2].encode()
    found = read_answer(RawAnswer(200, HEAD, answer.text.encode()), target, _prediction(config))
    assert (found.error, found.unread) == ("", "")
    said = [f"{output.kind} {output.name or '-'} = {output.value}" for row in found.rows for output in row]
    assert said == read.text.splitlines()


def test_each_page_shows_an_answer():
    pages = {config.page for config, _, _ in ANSWERS}
    assert pages == {str(page.relative_to(ROOT)) for page in (ROOT / "docs/in-front-of").glob("*.md")}


class _Application:
    """In the place of FastAPI, which is not among what tests install: it keeps the functions by their paths."""

    def __init__(self) -> None:
        self.functions = dict[str, Any]()

    def post(self, path: str) -> Callable[[Any], Any]:
        return lambda function: self.functions.setdefault(path, function)

    get = post


def test_the_model_of_the_fastapi_page_gives_the_answer_of_the_page(monkeypatch: pytest.MonkeyPatch):
    fastapi = ModuleType("fastapi")
    fastapi.__dict__["FastAPI"] = _Application
    monkeypatch.setitem(sys.modules, "fastapi", fastapi)
    page = (ROOT / "docs/in-front-of/fastapi.md").read_text("utf-8")
    (code,) = (block.text for block in blocks_of(page, "fastapi.md") if block.language == "python")
    (said,) = (block.text for block in blocks_of(page, "fastapi.md") if block.says == "answer")
    names = dict[str, Any]()
    exec(code, names)
    customer = names["Customer"](customer_id="C1", total_amount_30d=80.5)
    assert names["app"].functions["/predict"](customer) == json.loads(said)
    assert names["app"].functions["/health"]()
