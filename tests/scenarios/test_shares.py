"""Law 2 with real requests: 200 000 requests at weight 10 %, with and without a sticky key; then 10 → 25 %.

Not compiled, the data plane is slower, and gets fewer: each customer has two requests instead of ten.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from math import sqrt
from pathlib import Path

from tests.build import COMPILED
from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running

CUSTOMERS = 20_000
TIMES = 10 if COMPILED else 2
REQUESTS = CUSTOMERS * TIMES
CONNECTIONS = 8
BURST = 50  # requests pipelined at a time
NAME = b"x-crossfade-backend: "


async def send(proxy: Proxy, customers: range, times: int) -> list[tuple[int, str]]:
    """(customer, backend) for each request, over pipelined connections."""
    found: list[tuple[int, str]] = []

    async def client(share: range) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for _ in range(times):
            for start in range(0, len(share), BURST):
                burst = share[start : start + BURST]
                writer.write(
                    b"".join(
                        b"GET /predict HTTP/1.1\r\nHost: x\r\nX-Customer-Id: %d\r\n\r\n" % c for c in burst
                    )
                )
                for customer in burst:
                    head = await reader.readuntil(b"\r\n\r\n")
                    at = head.index(NAME) + len(NAME)
                    name = head[at : head.index(b"\r\n", at)]
                    await reader.readexactly(len(name))
                    found.append((customer, name.decode()))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(customers[n::CONNECTIONS]) for n in range(CONNECTIONS)))
    return found


def within(hits: int, of: int, share: float) -> bool:
    """Inside the 99.99 % interval of a binomial (normal approximation, z = 3.89)."""
    return abs(hits - of * share) <= 3.89 * sqrt(of * share * (1 - share))


async def test_sticky_customers_have_the_weight_and_only_the_required_share_moves(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    config = routing(models, "    split: {v2: 90%, v3: 10%}\n")
    proxy = Proxy(tmp_path, config.replace("{json: customer_id}", "{header: X-Customer-Id}"))
    async with running(proxy):
        answers = await send(proxy, range(CUSTOMERS), TIMES)
        assert len(answers) == REQUESTS
        before = dict(answers)
        assert len(set(answers)) == CUSTOMERS  # one backend for each customer, in all workers
        assert within(Counter(before.values())["v3"], CUSTOMERS, 0.10)

        status, answer = await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 75, "v3": 25})
        assert status == 200, answer
        after = dict(
            await send(proxy, range(CUSTOMERS), 1)
        )  # the PUT has returned, so all workers have the new ledger
        moved = [c for c in after if after[c] != before[c]]
        assert within(len(moved), CUSTOMERS, 0.15)
        assert {before[c] for c in moved} == {"v2"}  # the growing backend loses no customer

        await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 90, "v3": 10})
        assert dict(await send(proxy, range(CUSTOMERS), 1)) == before


async def test_requests_without_a_key_have_the_weight(tmp_path: Path, models: dict[str, Model]) -> None:
    config = routing(models, "    split: {v2: 90%, v3: 10%}\n")
    proxy = Proxy(tmp_path, config.replace("    sticky: {json: customer_id}\n", ""))
    async with running(proxy):
        answers = await send(proxy, range(CUSTOMERS), TIMES)
        assert within(Counter(name for _, name in answers)["v3"], REQUESTS, 0.10)
        # Expected: 0.65 of all customers with ten requests, 0.18 with two.
        assert len(set(answers)) > CUSTOMERS * (1.3 if COMPILED else 1.1)  # many customers got both backends
