"""The screen of `crossfade watch`, made of one look at the proxy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from crossfade.cli.event_stream import Event
from crossfade.cli.events import clock, line_of
from crossfade.cli.look import Look
from crossfade.cli.output import STYLES
from crossfade.cli.show import endpoint_state, in_unit, step_of
from crossfade.log_lines import printable
from crossfade.rollout.verdict import duration, percent

BAR = 20  # cells
VERDICT_ORDER = ("FAIL", "VOID", "UNDECIDED", "PASS")  # worst first
_PHASES = {"progressing": "▶", "paused": "‖", "promoted": "✔", "aborted": "✖", "rolled_back": "↩"}


def screen(look: Look, route: str | None) -> RenderableType:
    parts: list[RenderableType] = [_head(look)]
    if route is None:
        parts.append(_overview(look.status))
    else:
        for found in look.status["routes"]:
            parts += [_traffic(found), *_rollouts(look.status["rollouts"])]
    parts += [*_down(look.status["backends"]), *_decisions(look.decisions)]
    return Group(*parts)


def _text(said: str, style: str = "") -> Text:
    return Text(printable(said), style=style)


def _head(look: Look) -> Text:
    status = look.status
    up = sum(worker["up"] for worker in status["workers"])
    head = _text(
        f"Crossfade {status['version']}  up {duration(status['uptime'])}  {up} of {len(status['workers'])} workers  "
    )
    if look.lost:
        head.append_text(_text(f"no connection; numbers of {clock(look.at)}: {look.lost}", "bold red"))
    else:
        head.append_text(_text(clock(look.at), "dim"))
    if not status["config"]["ok"]:
        head.append_text(_text("\nthe last reload was refused: `crossfade status` says why", "red"))
    if not status["store_ok"]:
        head.append_text(
            _text("\nthe journal cannot be written: no challenger gets more traffic", "bold red")
        )
    return head


def _columns(*names: str) -> Table:
    """A heading that ends with # is of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        if name.endswith("#"):
            table.add_column(_text(name[:-1]), justify="right", no_wrap=True)
        else:
            table.add_column(_text(name), overflow="fold")
    return table


def _overview(status: Any) -> Table:
    table = _columns(
        "route", "split", "phase", "step#", "req/s#", "errors#", "p99#", "worst check", "waiting for"
    )
    for route in status["routes"]:
        rollouts = [r for r in status["rollouts"] if r["route"] == route["name"]]
        numbers = list(route["backends"].values())
        rate = sum(n["rate"] for n in numbers)
        errors = sum(n["rate"] * n["error_share"] for n in numbers)
        slowest = max((n["p99"] for n in numbers if n["p99"] is not None), default=None)
        table.add_row(
            _text(route["name"], "bold"),
            _text("  ".join(f"{name} {percent(share)}" for name, share in route["split"].items() if share)),
            Text("\n").join(_phase(r) for r in rollouts),
            _text("\n".join(step_of(r) for r in rollouts)),
            _text(f"{rate:.4g}"),
            _text(percent(errors / rate if rate else 0.0)),
            _text("-" if slowest is None else duration(slowest)),
            Text("\n").join(_worst(r["verdicts"]) for r in rollouts),
            _text("\n".join(r["waiting_for"] for r in rollouts)),
        )
    return table


def _phase(rollout: Any) -> Text:
    phase = rollout["phase"]
    return _text(f"{_PHASES[phase]} {phase}", STYLES[phase])


def _worst(verdicts: Iterable[Any]) -> Text:
    worst = min(verdicts, key=lambda v: VERDICT_ORDER.index(v["verdict"]), default=None)
    return (
        Text("-")
        if worst is None
        else _text(f"{worst['verdict']} {worst['check']}", STYLES[worst["verdict"]])
    )


def _traffic(route: Any) -> Table:
    table = _columns(f"route {route['name']}", "role", "split", "#", "req/s#", "errors#", "p50#", "p99#")
    for name, n in route["backends"].items():
        share = route["split"].get(name, 0.0)
        table.add_row(
            _text(name, "bold"),
            _text(n["role"]),
            bar(share),
            _text(percent(share)),
            _text(f"{n['rate']:.4g}"),
            _text(percent(n["error_share"])),
            _text("-" if n["p50"] is None else duration(n["p50"])),
            _text("-" if n["p99"] is None else duration(n["p99"])),
        )
    return table


def bar(share: float, style: str = "cyan") -> Text:
    """Any share above 0 has one cell at least, and only the whole fills all."""
    full = min(max(round(share * BAR), int(share > 0)), BAR if share >= 1 else BAR - 1)
    return Text.assemble(("█" * full, style), ("░" * (BAR - full), "dim"))


def _rollouts(rollouts: Iterable[Any]) -> Iterator[RenderableType]:
    for rollout in rollouts:
        line = Text.assemble(
            _phase(rollout), "  ", _text(rollout["strategy"]), "  ", _text(rollout["champion"])
        )
        line.append_text(_text(f" → {rollout['challenger']}  ", "bold"))
        line.append_text(_text(f"in this step for {duration(rollout['elapsed'])}", "dim"))
        yield line
        yield _steps(rollout)
        if rollout["waiting_for"]:
            yield _text(f"waiting for: {rollout['waiting_for']}")
        if rollout["verdicts"]:
            yield _checks(rollout["verdicts"])


def _steps(rollout: Any) -> Text:
    """`✔ 1% 24h  ▶ 5% 48h  50% 48h approval`; the end of the list is the promote."""
    words = []
    for number, step in enumerate(rollout["steps"]):
        share = (
            f"mirror {percent(step['mirror'])}"
            if step["mirror"] and not step["weight"]
            else percent(step["weight"])
        )
        said = f"{share} {duration(step['hold'])}{' approval' if step['approval'] else ''}"
        if rollout["phase"] == "promoted" or number < rollout["step"]:
            words.append(_text(f"✔ {said}", "green"))
        elif number == rollout["step"]:
            words.append(_text(f"{_PHASES[rollout['phase']]} {said}", f"bold {STYLES[rollout['phase']]}"))
        else:
            words.append(_text(said, "dim"))
    return Text.assemble("steps  ", Text("   ").join(words))


def _checks(verdicts: Iterable[Any]) -> Table:
    table = _columns("check", "verdict", "n#", "estimate#", "interval#", "evidence", "to go#", "reason")
    for verdict in verdicts:
        interval, evidence, bound = verdict["interval"], verdict["evidence"], verdict["bound"]
        known = evidence is not None and bound
        table.add_row(
            _text(verdict["check"]),
            _text(verdict["verdict"], STYLES[verdict["verdict"]]),
            _text(str(verdict["n"])),
            _text("-" if verdict["estimate"] is None else in_unit(verdict["estimate"], verdict["unit"])),
            _text(
                "-" if interval is None else " to ".join(in_unit(end, verdict["unit"]) for end in interval)
            ),
            bar(max(min(evidence / bound, 1.0), 0.0), "red") if known else Text("-"),
            _text("-" if verdict["eta_requests"] is None else str(verdict["eta_requests"])),
            _text(verdict["reason"]),
        )
    return table


def _down(backends: Iterable[Any]) -> Iterator[Text]:
    for backend in backends:
        for endpoint in backend["endpoints"]:
            if (state := endpoint_state(endpoint, backend["panic"])) != "up":
                yield _text(f"{backend['name']} {endpoint['url']}: {state}", "red")


def _decisions(decisions: list[Any]) -> Iterator[Text]:
    if decisions:
        yield Text("\ndecisions", style="bold")
    for decision in reversed(decisions):
        line = _text(line_of(Event("decision", decision["id"], decision)))
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line
