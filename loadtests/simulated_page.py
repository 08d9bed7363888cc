"""The tables of the simulated rollouts, for docs/statistics.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from loadtests.binomial import clopper_pearson
from loadtests.rivals import RIVALS

_OF_PAIRS = ("alike", "unlike")  # the limit is kept, and broken
_OF_LABELS = ("labels alike", "labels unlike")
MARKERS = ("<!-- simulation: begin -->", "<!-- simulation: end -->")


def page(result: dict[str, Any]) -> str:
    """Markdown tables."""
    healthy, faulty = result["healthy"], result["faulty"]
    return "\n".join(
        [
            f"**The challenger is as good as the champion** (α = {result['alpha']:.0%} for the whole rollout):",
            "",
            *table(
                ["world", "false aborts (95 % interval)", "promoted", "waits", *RIVALS],
                [[name, *healthy_cells(found)] for name, found in healthy.items()],
            ),
            "",
            "**The challenger is worse** (times from the begin of the fault, median and p90 over all runs):",
            "",
            *table(
                [
                    "world",
                    "aborted",
                    "promoted (95 % interval)",
                    "waits",
                    "its requests until then",
                    "minutes",
                    *RIVALS,
                ],
                [[name, *faulty_cells(found)] for name, found in faulty.items()],
            ),
            "",
            "**Mirrored pairs**, a look after each 50 (one check; α is all its own):",
            "",
            *table(
                ["world", "FAIL (95 % interval)", "PASS at the end", "pairs until a FAIL"],
                [[name, *pair_cells(found)] for kind in _OF_PAIRS for name, found in result[kind].items()],
            ),
            "",
            "**Feedback and labels** on a ramp 5 → 25 → 50 %, a look after each 200 ripe predictions (one check; α is all its own). What customers do doubles meanwhile on both sides:",
            "",
            *table(
                ["world", "FAIL (95 % interval)", "PASS at the end", "predictions until a FAIL"],
                [[name, *pair_cells(found)] for kind in _OF_LABELS for name, found in result[kind].items()],
            ),
        ]
    )


def pair_cells(found: dict[str, Any]) -> list[str]:
    runs, failed = found["runs"], found["aborted"]
    low, high = clopper_pearson(failed, runs)
    passed = share(found["promoted"], runs)
    return [f"{failed} of {runs} ({low:.1%} to {high:.1%})", passed, pair(found["requests"], "{:.0f}")]


def healthy_cells(found: dict[str, Any]) -> list[str]:
    low, high = clopper_pearson(found["aborted"], found["runs"])
    aborts = f"{found['aborted']} of {found['runs']} ({low:.1%} to {high:.1%})"
    others = rival_cells(found, lambda rival, runs: share(rival["aborted"], runs))
    return [aborts, share(found["promoted"], found["runs"]), share(found["waiting"], found["runs"]), *others]


def faulty_cells(found: dict[str, Any]) -> list[str]:
    runs = found["runs"]
    low, high = clopper_pearson(found["promoted"], runs)
    promoted = f"{found['promoted']} of {runs} ({low:.1%} to {high:.1%})"
    times = [pair(found["requests"], "{:.0f}"), pair(found["minutes"], "{:.1f}")]
    others = rival_cells(found, rival_cell)
    return [
        share(found["aborted"], runs) + before(found["early"], runs),
        promoted,
        share(found["waiting"], runs),
        *times,
        *others,
    ]


def rival_cells(found: dict[str, Any], cell: Callable[[dict[str, Any], int], str]) -> list[str]:
    if found["rivals"] is None:
        return ["–"] * len(RIVALS)
    return [cell(found["rivals"][name], found["runs"]) for name in RIVALS]


def rival_cell(found: dict[str, Any], runs: int) -> str:
    minutes = found["minutes"][0]
    text = share(found["aborted"], runs) + before(found["early"], runs)
    return f"{text}, {minutes:.1f} min" if minutes is not None else text


def before(early: int, runs: int) -> str:
    """How many were aborted before the fault."""
    return f" ({share(early, runs)} before the fault)" if early else ""


def share(count: int, runs: int) -> str:
    return f"{count / runs:.0%}" if count in (0, runs) else f"{count / runs:.1%}"


def pair(quantiles: Sequence[float | None], form: str) -> str:
    median, p90 = ("–" if value is None else form.format(value) for value in quantiles)
    return f"{median} ({p90})"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def rewritten(text: str, result: dict[str, Any]) -> str:
    """The page with new tables between the markers."""
    before_it, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before_it}{MARKERS[0]}\n{page(result)}\n{MARKERS[1]}{after}"
