"""A topic of customers, scored by `crossfade_backends.stream`, beside the broker of librdkafka's tests."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crossfade.demo.processes import DemoError, free_port

if TYPE_CHECKING:
    from crossfade.demo.tour import Tour

TIMEOUT = 90.0
PACKAGES = ("aiokafka", "confluent_kafka")
_BROKER = """
from confluent_kafka import Producer
import time
cluster = Producer({"bootstrap.servers": "replaced:1", "test.mock.num.brokers": 1})
[broker] = cluster.list_topics(timeout=60).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
time.sleep(3600)
"""


@contextmanager
def broker() -> Iterator[str]:
    """Its address. It makes topics by itself."""
    child = subprocess.Popen(
        [sys.executable, "-c", _BROKER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    try:
        address = child.stdout.readline().decode().strip()
        if not address:
            raise DemoError("the broker did not start")
        yield address
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def score_topic(tour: Tour, address: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Customer → score. The rows are messages, whose results are read from the other topic."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        for row in rows:
            await producer.send_and_wait(
                "customers", json.dumps(row).encode(), key=str(row["customer_id"]).encode()
            )
    finally:
        await producer.stop()
    words = ("--brokers", address, "--from", "customers", "--to", "scores", "--model", "churn@v2")
    await tour.begin("crossfade_backends.stream", *words, "--metrics", f"127.0.0.1:{free_port()}")
    return await _read(address, len(rows))


async def _read(address: str, n: int) -> dict[str, float]:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer("scores", bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[str, float] = {}
    try:
        async with asyncio.timeout(TIMEOUT):
            while len(found) < n:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        result = json.loads(record.value)
                        found[result["customer_id"]] = result["churn_probability"]
    except TimeoutError:
        pass  # the check says how many are absent
    finally:
        await consumer.stop()
    return found
