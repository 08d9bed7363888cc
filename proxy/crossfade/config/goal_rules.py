"""Rules about what a recommendation goes by: `primary` of a rollout.

Rule: as all rules do, they read the document and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crossfade.config.document import Document, Node
from crossfade.config.problem import Problem, nearest
from crossfade.config.rollout import LOSSES

_ALONE = ("min_lift", "min_effect", "better", "act")  # keys that say nothing without `primary`
_COMPARING = ("max_increase", "min_increase")
_LABEL_METRICS = ("accuracy", *LOSSES)


def _goal_without_check(document: Document) -> Iterator[Problem]:
    for loc, rollout in document.each("routes", "*", "rollout", "*"):
        wanted, checks = rollout.child("primary"), rollout.child("checks")
        if wanted is None:
            for key in _ALONE:
                if key in rollout.given:
                    message = 'has no effect without the key "primary"'
                    yield document.problem((*loc, key), message, at_key=True)
            continue
        named = _named(checks.elements if checks else ())
        found = named.get(wanted.text or "")
        if wanted.text == "auc":
            message = "auc has no lift; take accuracy, log_loss or brier"
            yield document.problem((*loc, "primary"), message)
        elif found is None and wanted.text:
            message = f'no check of this rollout is of a kpi or a metric of labels called "{wanted.text}"'
            yield document.problem((*loc, "primary"), message, nearest(wanted.text, list(named)))
        elif found is not None and not set(_COMPARING) & set(found.given):
            message = "needs a check with min_increase or max_increase: one that compares with the champion"
            yield document.problem((*loc, "primary"), message)


def _named(checks: Sequence[Node]) -> dict[str, Node]:
    """The checks that a recommendation can go by; the first of each name, those that compare before others."""
    out: dict[str, Node] = {}
    for check in checks:
        metric, name = _text_at(check, "metric"), _text_at(check, "name")
        key = name if metric == "kpi" else metric if metric in _LABEL_METRICS else None
        if key and (key not in out or not set(_COMPARING) & set(out[key].given)):
            out[key] = check
    return out


def _text_at(node: Node, key: str) -> str | None:
    found = node.child(key)
    return found.text if found else None


GOAL_RULES = (_goal_without_check,)
