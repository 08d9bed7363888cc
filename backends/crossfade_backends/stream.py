"""Scores a topic of Kafka: `python -m crossfade_backends.stream --brokers … --from customers --to scores --model churn@production`.

Rule: the offsets of a portion are committed when the brokers have acknowledged all its results, so a row is scored at least once,
whatever ends when. The next portion is read only then: that is the back-pressure. What cannot be scored goes to the topic of
dead letters, unchanged, with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, KafkaTimeoutError

from crossfade_backends.batch import add_scorer, positive
from crossfade_backends.batch_input import BatchError
from crossfade_backends.registry import RegistryError
from crossfade_backends.stages import named_version
from crossfade_backends.stream_metrics import StreamMetrics
from crossfade_backends.stream_scoring import Message, Outcome, Scorer, by_model, by_proxy

log = logging.getLogger("backends.stream")

_AGAIN = (1.0, 30.0)  # seconds until it connects once more: the first and the longest time


class Options(NamedTuple):
    brokers: str
    source: str
    to: str
    dead: str
    group: str
    model: str
    registry: Path
    via: str
    portion: int
    wait_ms: int
    at_once: int
    metrics: str
    user: str
    tls: bool
    tls_ca: str | None

    def connection(self) -> dict[str, Any]:
        """What consumer and producer have in common. The password is in CROSSFADE_KAFKA_PASSWORD."""
        protocol = ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")
        made: dict[str, Any] = {"bootstrap_servers": self.brokers, "security_protocol": protocol}
        if self.user:
            password = os.environ.get("CROSSFADE_KAFKA_PASSWORD", "")
            made |= {
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": self.user,
                "sasl_plain_password": password,
            }
        if self.tls:
            made["ssl_context"] = ssl.create_default_context(cafile=self.tls_ca)
        return made


class Finishing(ConsumerRebalanceListener):  # type: ignore[misc]
    """Partitions are given up when the portion under way is committed, so that nobody scores it again."""

    def __init__(self, portion: asyncio.Lock) -> None:
        self.portion = portion

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        async with self.portion:
            pass

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        log.info("reads the partitions %s", sorted(p.partition for p in assigned))


class Stream:
    """`stopping` ends it behind the portion that is under way."""

    def __init__(self, options: Options, scorer: Scorer, metrics: StreamMetrics) -> None:
        self.options = options
        self.scorer = scorer
        self.metrics = metrics
        self.stopping = asyncio.Event()
        self.portion = asyncio.Lock()

    async def run(self) -> None:
        """Connects again for as long as the brokers cannot be had: nothing is lost meanwhile."""
        wait, longest = _AGAIN
        while not self.stopping.is_set():
            try:
                await self.connected()
                wait = _AGAIN[0]
            except (KafkaError, OSError, BatchError) as error:
                self.metrics.interrupted.inc()
                log.warning("interrupted, again in %g s: %s", wait, error)
                await self.pause(wait)
                wait = min(wait * 2, longest)

    async def pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass

    async def connected(self) -> None:
        common = self.options.connection()
        async with AsyncExitStack() as stack:
            producer = AIOKafkaProducer(enable_idempotence=True, linger_ms=5, **common)
            stack.push_async_callback(producer.stop)  # one that does not start has a client too
            await producer.start()
            consumer = AIOKafkaConsumer(
                group_id=self.options.group, enable_auto_commit=False, auto_offset_reset="earliest", **common
            )
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            consumer.subscribe([self.options.source], listener=Finishing(self.portion))
            while not self.stopping.is_set():
                await self.score_portion(consumer, producer)

    async def score_portion(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        """Read → score → send and wait for the acknowledgements → commit."""
        found = await consumer.getmany(timeout_ms=self.options.wait_ms, max_records=self.options.portion)
        async with self.portion:
            mine = {at: records for at, records in found.items() if at in consumer.assignment()}
            messages = [
                Message(
                    record.key,
                    record.value,
                    f"{at.topic}/{at.partition}/{record.offset}",
                    tuple(record.headers),
                )
                for at, records in mine.items()
                for record in records
            ]
            if messages:
                with self.metrics.seconds.time():
                    await self.send(producer, await self.scorer.score(messages))
                await self.commit(consumer, {at: records[-1].offset + 1 for at, records in mine.items()})
        # A position may come only with the next assignment, which waits for the portion: so not within it.
        await self.tell_lag(consumer)

    async def send(self, producer: AIOKafkaProducer, outcomes: Sequence[Outcome]) -> None:
        acknowledged = []
        for outcome in outcomes:
            topic = self.options.dead if outcome.is_dead else self.options.to
            acknowledged.append(
                await producer.send(topic, outcome.value, key=outcome.key, headers=list(outcome.headers))
            )
        await asyncio.gather(*acknowledged)
        self.metrics.count(outcomes)

    async def commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions have another reader, who scores the portion again: at least once.
            log.warning("not committed: %s", error)

    async def tell_lag(self, consumer: AIOKafkaConsumer) -> None:
        """By the end of each partition as the last answer of its broker told it."""
        lags = {}
        for at in consumer.assignment():
            try:
                end, position = consumer.highwater(at), await consumer.position(at)
            except (IllegalStateError, KafkaTimeoutError):
                continue  # it has another reader by now
            lags[at.partition] = 0 if end is None else max(end - position, 0)
        self.metrics.set_lag(lags)


async def serve(options: Options) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    metrics = StreamMetrics()
    metrics.listen(options.metrics)
    if options.via:
        scorer: Scorer = by_proxy(options.via, options.at_once)
    else:
        version = named_version(options.registry, options.model)
        scorer = await asyncio.to_thread(by_model, options.registry, version)
    stream = Stream(options, scorer, metrics)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stream.stopping.set)
    log.info("scores %s to %s with %s", options.source, options.to, options.via or options.model)
    try:
        await stream.run()
    finally:
        await scorer.close()
        metrics.close()
    log.info("drained")
    return 0


def parse(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.stream", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--brokers", required=True, metavar="HOST:PORT,…")
    add(
        "--from",
        dest="source",
        required=True,
        metavar="TOPIC",
        help="customers as JSON, as in the body of /predict",
    )
    add("--to", required=True, metavar="TOPIC", help="scores, with the keys of the customers")
    add("--dead", default="", metavar="TOPIC", help="what cannot be scored (default: FROM.dead)")
    add(
        "--group",
        default="crossfade",
        help="processes of one group share the partitions (default: %(default)s)",
    )
    add_scorer(parser)
    add(
        "--portion",
        type=positive,
        default=500,
        metavar="N",
        help="rows between two commits, at most (default: %(default)s)",
    )
    add(
        "--wait-ms",
        type=positive,
        default=200,
        metavar="MS",
        help="how long a portion waits for its first row (default: %(default)s)",
    )
    add(
        "--metrics",
        default="127.0.0.1:9102",
        metavar="HOST:PORT",
        help="for Prometheus (default: %(default)s)",
    )
    add("--user", default="", help="SASL SCRAM-SHA-512; the password is in CROSSFADE_KAFKA_PASSWORD")
    add("--tls", action="store_true", help="TLS to the brokers")
    add("--tls-ca", metavar="FILE", help="the authority of the brokers' certificates")
    given = parser.parse_args(arguments)
    given.dead = given.dead or f"{given.source}.dead"
    return Options(**vars(given))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return asyncio.run(serve(options))
    except (RegistryError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
