"""What the demo prints: a live view on a terminal, and one line for each event."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

INDENT = " " * 10  # the width of the time before a decision
_VERDICT_STYLES = {"PASS": "green", "FAIL": "bold red", "UNDECIDED": "yellow", "VOID": "magenta"}

Row = tuple[str, str, bool]  # of the summary: what is checked, what was measured, passed


class Screen:
    """A context manager. `show` draws the live view, `print` adds a line above it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = (
            Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        )
        self.title = "Crossfade demo"

    def __enter__(self) -> Screen:
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live:
            self.live.stop()

    def print(self, line: str, style: str = "") -> None:
        text = Text(line, style=style)
        if self.live:
            self.live.console.print(text)
        else:
            self.console.print(text, soft_wrap=True)

    def heading(self, title: str) -> None:
        self.title = title
        self.print(f"\n── {title}", "bold cyan")

    def show(self, status: dict[str, Any], sent: int, failed: int) -> None:
        if self.live:
            self.live.update(self.view(status, sent, failed))

    def view(self, status: dict[str, Any], sent: int, failed: int) -> Panel:
        parts: list[Any] = [_backends_table(route) for route in status["routes"]]
        parts += [_rollout_text(rollout) for rollout in status["rollouts"]]
        parts.append(
            Text(
                f"{sent} requests sent in this scenario, {failed} failed",
                style="bold red" if failed else "",
            )
        )
        return Panel(Group(*parts), title=self.title, border_style="cyan")


def _backends_table(route: dict[str, Any]) -> Table:
    table = Table(
        expand=True, box=None, title=f"route {route['name']}, ledger version {route['ledger_version']}"
    )
    for column in ("backend", "role", "weight", "", "req/s", "requests", "errors", "p50", "p99"):
        table.add_column(column, justify="left" if column in ("backend", "role", "") else "right")
    for name, numbers in sorted(route["backends"].items()):
        weight = route["split"].get(name, 0.0)
        bad = "red" if numbers["error_share"] > 0.01 else ""
        table.add_row(
            name, numbers["role"], f"{weight:.0%}", Text("█" * round(weight * 24), style="cyan"),
            f"{numbers['rate']:.0f}", str(numbers["requests"]), Text(str(numbers["errors"]), style=bad),
            _milliseconds(numbers["p50"]), _milliseconds(numbers["p99"]),
        )  # fmt: skip
    return table


def _rollout_text(rollout: dict[str, Any]) -> Text:
    steps = " → ".join(
        f"[{step['weight']:.0%}]" if index == rollout["step"] else f"{step['weight']:.0%}"
        for index, step in enumerate(rollout["steps"])
    )
    text = Text(f"\n{rollout['strategy']} {rollout['champion']} → {rollout['challenger']}: ", style="bold")
    text.append(f"{rollout['phase']}   steps {steps}\n{rollout['waiting_for']}\n", style="not bold")
    for verdict in rollout["verdicts"]:
        text.append(f"  {verdict['verdict']:<9} ", style=_VERDICT_STYLES.get(verdict["verdict"], ""))
        text.append(f"{verdict['check']}: {verdict['reason']}\n", style="not bold")
    return text


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"


def summary_table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left")
    table.add_column("scenario and check")
    table.add_column("measured")
    table.add_column("passed", justify="center")
    for check, measured, ok in rows:
        table.add_row(check, measured, Text("yes", style="green") if ok else Text("NO", style="bold red"))
    return table
