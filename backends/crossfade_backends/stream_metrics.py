"""What a stream tells Prometheus, on a port of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from crossfade_backends.stream_scoring import Outcome


class StreamMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter(
            "model_stream_rows",
            "Rows by outcome: scored, or dead for those that went to the dead letters.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("scored", "dead"):
            self.rows.labels(outcome)
        self.lag = Gauge(
            "model_stream_lag", "Messages that wait, by partition.", ["partition"], registry=self.registry
        )
        self.seconds = Histogram(
            "model_stream_portion_seconds",
            "Time of a portion, from its first row to the acknowledgement of its results.",
            registry=self.registry,
        )
        self.interrupted = Counter(
            "model_stream_interruptions",
            "Times that brokers or proxy could not be had.",
            registry=self.registry,
        )

    def listen(self, address: str) -> None:
        """Raises OSError or ValueError."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"--metrics must be HOST:PORT, not {address}")
        self.server, self.thread = start_http_server(int(port), host, self.registry)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def count(self, outcomes: Sequence[Outcome]) -> None:
        dead = sum(outcome.is_dead for outcome in outcomes)
        self.rows.labels("dead").inc(dead)
        self.rows.labels("scored").inc(len(outcomes) - dead)

    def set_lag(self, lags: Mapping[int, int]) -> None:
        """Of the partitions that this process reads; others have their reader's."""
        self.lag.clear()
        for partition, lag in lags.items():
            self.lag.labels(str(partition)).set(lag)
