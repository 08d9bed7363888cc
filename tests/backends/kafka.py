"""A broker that speaks Kafka, the stream command as a process, and what the topics have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from loadtests.ports import free_port

TIMEOUT = 120.0


class Result(NamedTuple):
    key: bytes | None
    value: Any
    headers: dict[str, str]


@asynccontextmanager
async def relay(port: int, address: str) -> AsyncIterator[None]:
    """The broker at another port, as one that a client begins with."""
    host, _, own = address.rpartition(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(own))
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", port):
        yield


async def send(address: str, topic: str, rows: list[tuple[bytes | None, bytes | None]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        for sent in [await producer.send(topic, value, key=key) for key, value in rows]:
            await sent
    finally:
        await producer.stop()


async def read(address: str, topic: str, least: int) -> list[Result]:
    """All that the topic has, once it has so many; and what comes within a second more."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Result] = []
    try:
        async with asyncio.timeout(TIMEOUT):
            while True:
                got = [r for records in (await consumer.getmany(timeout_ms=1000)).values() for r in records]
                found += [_result(record) for record in got]
                if len(found) >= least and not got:
                    return found
    finally:
        await consumer.stop()


def _result(record: Any) -> Result:
    try:
        value = json.loads(record.value)
    except (ValueError, TypeError):
        value = record.value
    return Result(record.key, value, {name: text.decode() for name, text in record.headers})


class StreamProcess:
    """`python -m crossfade_backends.stream` from `in` to `out`."""

    def __init__(self, address: str, *more: str) -> None:
        self.metrics = free_port()
        self.command = [
            *(
                sys.executable,
                "-m",
                "crossfade_backends.stream",
                "--brokers",
                address,
                "--from",
                "in",
                "--to",
                "out",
            ),
            *("--metrics", f"127.0.0.1:{self.metrics}", *more),
        ]

    async def start(self) -> None:
        self.child = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )

    async def said(self, *texts: str) -> str:
        """Returns once it has logged a line with one of these texts: that text."""
        assert self.child.stderr is not None
        async with asyncio.timeout(TIMEOUT):
            while line := (await self.child.stderr.readline()).decode():
                for text in texts:
                    if text in line:
                        return text
        raise AssertionError(f"it ended without {texts}")

    async def joined_by(self, other: StreamProcess) -> None:
        """Returns once the other process has partitions of this one's group. This broker refuses, as no real one does, a member
        that asks for them behind the leader, so the leader is stopped meanwhile. On a busy machine the member may be late all the same;
        then it joins again."""
        got = ""
        while got != "reads the partitions":
            await self.said("it is rebalancing")
            await self.said("(Re-)joining group")
            self.child.send_signal(signal.SIGSTOP)
            await other.said("Joined group")
            self.child.send_signal(signal.SIGCONT)
            got = await other.said("reads the partitions", "interrupted")

    def metric(self, name: str) -> float:
        """The sum of all samples of this name; 0 until there is a page."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    async def has(self, name: str, least: float) -> None:
        async with asyncio.timeout(TIMEOUT):
            while await asyncio.to_thread(self.metric, name) < least:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def streaming(address: str, registry: Path, *more: str) -> AsyncIterator[StreamProcess]:
    process = StreamProcess(address, "--registry", str(registry), *more)
    await process.start()
    try:
        yield process
    finally:
        if process.child.returncode is None:
            process.child.kill()
        await process.child.communicate()
