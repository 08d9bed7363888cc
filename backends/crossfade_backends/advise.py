"""Batch or real time? `python -m crossfade_backends.advise` asks five questions and writes a report of one page.

Rule: each way to deploy is judged by each answer, with the reason; the way with the fewest and lightest objections is advised.
`--answers latency=200,…` needs nobody at the keyboard.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DAY = 86_400.0
WAYS = ("real time", "stream", "batch")
# The advice of one answer about one way: 0 fits, 1 costs something, 3 does not work.
FITS, COSTS, FAILS = 0, 1, 3
WORDS = {FITS: "fits", COSTS: "costs", FAILS: "does not work"}


class Question(NamedTuple):
    name: str
    text: str
    unit: str
    default: float


QUESTIONS = (
    Question("latency", "How long may a caller wait for a prediction", "ms; 0: nobody waits", 200),
    Question("age", "How old may the facts be that a prediction is made from", "s", 60),
    Question("rows", "How many predictions are needed in a day", "rows", 100_000),
    Question("used", "What share of the predictions is looked at before the next ones are made", "%", 10),
    Question("cost", "What does a core cost in an hour", "your currency", 0.04),
)
# CPU seconds a prediction, measured with v3 of this package (docs/batch.md, docs/stream.md).
CPU = {"real time": 0.0007, "stream": 0.00006, "batch": 0.00003}


class Judgement(NamedTuple):
    question: str
    way: str
    weight: int
    reason: str


def judge(answers: dict[str, float]) -> list[Judgement]:
    """`answers` has each name of QUESTIONS. Returns one judgement for each question but cost, and each way."""
    found = []
    for name, rule in (("latency", _latency), ("age", _age), ("rows", _rows), ("used", _used)):
        for way, weight, reason in rule(answers):
            found.append(Judgement(name, way, weight, reason))
    return found


def advised(judgements: Sequence[Judgement]) -> str:
    """The way with the least weight; among equal ones the simplest to run: batch, then real time, then stream."""
    simplest = ("batch", "real time", "stream")
    total = {way: sum(j.weight for j in judgements if j.way == way) for way in WAYS}
    return min(simplest, key=lambda way: total[way])


def hourly_cost(way: str, answers: dict[str, float]) -> float:
    """Cores that predictions keep busy, at the price of one; at least one core where a server waits for requests."""
    busy = answers["rows"] * CPU[way] / DAY
    return (busy if way == "batch" else max(busy, 1.0)) * answers["cost"]


Found = tuple[str, int, str]


def _latency(answers: dict[str, float]) -> Iterator[Found]:
    wait = answers["latency"]
    if wait == 0:
        yield "real time", COSTS, "nobody waits, so a server that always listens is more than is needed"
        yield "stream", FITS, "results go on to whoever reads the topic"
        yield "batch", FITS, "results are read from a file"
        return
    tight = wait < 10
    yield (
        "real time",
        COSTS if tight else FITS,
        (
            "below 10 ms the network counts: serve near the caller, or on the device (INT8)"
            if tight
            else f"an answer within {wait:g} ms"
        ),
    )
    yield "stream", FAILS if wait < 1000 else COSTS, "a caller that waits needs an answer to its own request"
    yield "batch", FAILS, "scores exist only for the rows of the last run; a new customer has none"


def _age(answers: dict[str, float]) -> Iterator[Found]:
    age = answers["age"]
    yield "real time", FITS, "facts come with the request"
    yield "stream", FITS if age >= 1 else COSTS, "facts come with the message"
    if age < 3600:
        yield "batch", FAILS, f"a run every {age:g} s is a stream"
    else:
        yield "batch", FITS, f"a run every {age / 3600:g} h is enough"


def _rows(answers: dict[str, float]) -> Iterator[Found]:
    cores = answers["rows"] * CPU["real time"] / DAY
    yield "real time", FITS if cores <= 4 else COSTS, f"{cores:.2f} cores are busy on average"
    yield "stream", COSTS if answers["rows"] < 1e6 else FITS, "a broker is one more system to run"
    yield "batch", FITS, f"{answers['rows'] * CPU['batch']:.0f} CPU seconds a day"


def _used(answers: dict[str, float]) -> Iterator[Found]:
    used = answers["used"] / 100
    yield "real time", FITS if used < 0.8 else COSTS, f"only what is asked for is computed ({used:.0%})"
    yield "stream", FITS, "each message is scored once"
    yield "batch", FITS if used >= 0.2 else COSTS, f"{1 - used:.0%} of the scores are never looked at"


def report(answers: dict[str, float]) -> str:
    """Markdown: the answers, a decision table, the costs, and what to do next."""
    judgements = judge(answers)
    way = advised(judgements)
    lines = [f"# Advice: {way}", "", "| question | answer |", "|---|---|"]
    lines += [f"| {q.text} | {answers[q.name]:g} {q.unit.partition(';')[0]} |" for q in QUESTIONS]
    lines += ["", f"| | {' | '.join(WAYS)} |", "|---|" + "---|" * len(WAYS)]
    for question in QUESTIONS[:-1]:
        cells = [next(j for j in judgements if (j.question, j.way) == (question.name, w)) for w in WAYS]
        lines.append(
            f"| {question.name} | " + " | ".join(f"{WORDS[j.weight]}: {j.reason}" for j in cells) + " |"
        )
    lines.append("| cost of an hour | " + " | ".join(f"{hourly_cost(w, answers):.4f}" for w in WAYS) + " |")
    return "\n".join([*lines, "", NEXT[way], ""])


NEXT = {
    "real time": "Next: start a server of each version and put the proxy in front: `python -m crossfade_backends.server --version v2`, `crossfade run routing.yaml`.",
    "stream": "Next: score a topic: `python -m crossfade_backends.stream`.",
    "batch": "Next: score a file: `python -m crossfade_backends.batch --model churn@production IN.parquet OUT.parquet`; with `--via` a new version is tried on a share of the rows.",
}


def given(text: str) -> dict[str, float]:
    """`latency=200,age=60`; what is not named has its default. Raises ValueError."""
    answers = {question.name: question.default for question in QUESTIONS}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in answers:
            raise ValueError(f"{name!r} is no question: there are {', '.join(answers)}")
        answers[name] = _number(name, value)
    return answers


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {text!r}") from None
    if not 0 <= value < 1e15 or (name == "used" and value > 100):
        raise ValueError(f"{name} cannot be {text}")
    return value


def asked(ask: Callable[[str], str], tell: Callable[[str], object]) -> dict[str, float]:
    """`ask` shows a text and returns what was typed; an empty line takes the default. A wrong answer is asked again."""
    answers = {}
    for question in QUESTIONS:
        while question.name not in answers:
            typed = ask(f"{question.text}? [{question.default:g} {question.unit}] ").strip()
            try:
                answers[question.name] = _number(question.name, typed) if typed else question.default
            except ValueError as error:
                tell(str(error))
    return answers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.advise", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--answers", metavar="NAME=NUMBER,…", help=f"of {', '.join(q.name for q in QUESTIONS)}; asks nothing"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the report there")
    options = parser.parse_args(arguments)
    try:
        answers = asked(input, print) if options.answers is None else given(options.answers)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nnot all questions were answered", file=sys.stderr)
        return 1
    text = report(answers)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
