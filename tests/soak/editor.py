"""Edits of the file under load: valid ones, each with what it must do, and broken ones, which must do nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.soak.laws import DEAD, DESCRIPTORS, OUT, PROBES
from tests.soak.layout import Layout
from tests.soak.process_faults import replace as write
from tests.soak.proxy import RECOVERY, Proxy
from tests.soak.record import Edit, Record

ATTEMPTS = 20  # to load a file, while faults may prevent it


class Editor:
    """`layout`: what the file says."""

    def __init__(self, proxy: Proxy, ports: Mapping[str, int], record: Record, seed: str) -> None:
        self.proxy, self.ports, self.record = proxy, ports, record
        self.random = random.Random(seed)
        self.layout = Layout()
        self.all: dict[str, Callable[[], Awaitable[None]]] = {
            "edit-hold": self.edit_hold,
            "edit-check": self.edit_check,
            "edit-weight": self.edit_weight,
            "edit-endpoints": self.edit_endpoints,
            "edit-split": self.edit_split,
            "edit-routes": self.take_route_out,
            "edit-name": self.rename_route,
            "edit-broken": self.break_file,
            "edit-half": self.write_half,
        }

    def text(self, layout: Layout) -> str:
        proxy = self.proxy
        head = (
            f"listen: 127.0.0.1:{proxy.port}\nadmin: {{listen: 127.0.0.1:{proxy.admin_port}}}\n"
            f"log: {{format: text}}\nworkers: 2\nstate: sqlite:{proxy.state}\ndrain: 20s\n"
        )
        return layout.text(head, self.ports)

    async def edit_hold(self) -> None:
        await self.apply("the hold of a step", replace(self.layout, hold=self.random.randrange(1, 6)))

    async def edit_check(self) -> None:
        await self.apply("the limit of a check", replace(self.layout, errors=self.random.randrange(20, 40)))

    async def edit_weight(self) -> None:
        """A weight below the present one is refused, as it cannot be done in place."""
        layout = replace(self.layout, second=self.random.randrange(10, 40))
        await self.apply("the weight of a step", layout, may_be_refused=True)

    async def edit_endpoints(self) -> None:
        await self.apply("an endpoint of v4", replace(self.layout, spare=not self.layout.spare))

    async def edit_split(self) -> None:
        share = self.random.randrange(20, 80)
        if await self.apply("the split of strict", replace(self.layout, strict=share), moves=True):
            await self.compare_split("strict", {"v2": share / 100, "v4": 1 - share / 100})

    async def compare_split(self, route: str, wanted: Mapping[str, float]) -> None:
        split = await self.proxy.split(route)
        if split is not None and any(
            abs(split.get(name, 0) - share) > 1e-6 for name, share in wanted.items()
        ):
            self.record.violate("13", f"the file says {dict(wanted)} for {route}, and the state is {split}")

    async def take_route_out(self) -> None:
        """And back: its split is that of before."""
        name = self.layout.moving
        before = await self.proxy.split(name)
        with self.record.fault(OUT, "/moving"):
            await self.apply(
                "a route taken out", replace(self.layout, moving="", renamed_from=""), moves=True
            )
            await asyncio.sleep(self.random.uniform(0, 2))
            back = replace(self.layout, moving=name, renamed_from="")
            for _ in range(ATTEMPTS):
                if await self.apply("a route put back", back, moves=True):
                    break
                await asyncio.sleep(1)
            else:
                self.record.violate("13", f"a route was not put back in {ATTEMPTS} attempts")
        if before is not None:
            await self.compare_split(name, before)

    async def rename_route(self) -> None:
        former = self.layout.moving
        name = "moved" if former == "moving" else "moving"
        before = await self.proxy.split(former)
        layout = replace(self.layout, moving=name, renamed_from=former)
        if await self.apply("another name of a route", layout, moves=True) and before is not None:
            await self.compare_split(name, before)

    async def break_file(self) -> None:
        text = self.text(self.layout)
        broken = (
            text.replace("split: {v2", "splt: {v2", 1),
            text.replace("100%", "110%", 1),
            text + "  : [\n",
            text.replace("challenger: v3", "challenger: v9", 1),
        )
        await self.refuse(self.random.choice(broken), "a broken file")

    async def write_half(self) -> None:
        """As an editor that is interrupted."""
        text = self.text(self.layout)
        await self.refuse(text[: text.index("routes:") + 12], "half of the file")

    # ── how ───────────────────────────────────────────────────────────────────────────────────

    async def apply(
        self, what: str, layout: Layout, moves: bool = False, may_be_refused: bool = False
    ) -> bool:
        """Writes the file and waits until it is loaded. False: the proxy was away meanwhile, or refused it."""
        async with self.proxy.starting:
            before = await self.wait_for(lambda now: now["ok"])
            if before is None or layout == self.layout:
                return False
            begun = time.time()
            self.record.act(f"edit: {what}")
            former, self.layout = self.layout, layout
            write(self.proxy.file, self.text(layout))
            told = await self.load()
            config = await self.wait_for(lambda now: now["hash"] != before["hash"] or not now["ok"])
            if config is None:
                self.record.violate("13", f"{what}: not loaded within {RECOVERY:.0f} s; reload said {told}")
                return False
            if not config["ok"]:
                with self.record.fault("edit refused", what):
                    is_right = self.is_refusal_right(config["error"], begun, may_be_refused)
                if not is_right:
                    self.record.violate("13", f"{what}: a valid file was refused: {config['error'][:300]}")
                self.layout = former
                write(self.proxy.file, self.text(former))
                return False
            self.record.edits.append(Edit(what, "", begun, time.time(), moves))
            return True

    def is_refusal_right(self, error: str, begun: float, may_be_refused: bool) -> bool:
        """What cannot be done in place or be written is refused, and what sends traffic to a backend that is down."""
        near = {fault.kind for fault in self.record.faults if fault.near(begun, time.time(), 10.0)}
        if "restart: true" in error:
            return may_be_refused
        return bool(near & {DEAD, PROBES} if "--force" in error else near & {"disk full", DESCRIPTORS})

    async def refuse(self, text: str, what: str) -> None:
        """Law 10: what was in force stays in force."""
        async with self.proxy.starting:
            before = await self.wait_for(lambda now: now["ok"])
            if before is None:
                return
            with self.record.fault("broken file", what):
                write(self.proxy.file, text)
                await self.load()
                after = await self.wait_for(lambda now: not now["ok"])
                if after is None:
                    self.record.violate("10", f"{what} was not refused within {RECOVERY:.0f} s")
                elif after["hash"] != before["hash"]:
                    self.record.violate("10", f"{what} has replaced the configuration")
                write(self.proxy.file, self.text(self.layout))
                await self.load()
                if await self.wait_for(lambda now: now["ok"]) is None:
                    self.record.violate("10", f"the good file was not loaded after {what}")

    async def load(self) -> str:
        """By command, by signal, or by a look at the file."""
        how = self.random.choice(("command", "signal", "file"))
        if how == "command":
            answer = await self.proxy.call("POST", "/api/v1/reload", actor="editor")
            return f"{answer.status} {str(answer.body)[:200]}"
        if how == "signal":
            self.proxy.control.send_signal(signal.SIGHUP)
        return how

    async def config(self) -> dict[str, Any] | None:
        answer = await self.proxy.call("GET", "/api/v1/status")
        return answer.body["config"] if answer.status == 200 else None

    async def wait_for(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
        end = time.monotonic() + RECOVERY
        while time.monotonic() < end:
            config = await self.config()
            if config is not None and condition(config):
                return config
            await asyncio.sleep(0.1)
        return None
