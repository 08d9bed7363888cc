"""What one exchange costs in the data plane: CPU over transports in memory, without a socket or a kernel call.

    python -m loadtests.exchange                    the table
    python -m loadtests.exchange --rounds 20 --case usual --profile

The client's bytes are given to its connection, the backend's answer to the pooled connection, and what either
writes is dropped. So the numbers hold the work of the proxy alone: parse, decide, write heads, record.
Machines have noise, and noise only adds: the least of many rounds is the number to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from crossfade.config.load import load
from crossfade.dataplane import exchange
from crossfade.dataplane.access_log import AccessLogger
from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.endpoint import BackendState
from crossfade.dataplane.listener import DataPlane
from crossfade.dataplane.upstream import Upstream
from crossfade.routing.compiling import Trial, compile_snapshot
from crossfade.routing.ledger import BUCKETS, new_ledger, salt_of
from crossfade.routing.snapshot import AccessLog, Limits, Role

YAML = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
backends:
  v2: {endpoints: [http://127.0.0.1:9002], health: false}
  v3: {endpoints: [http://127.0.0.1:9003], health: false}
routes:
  - {name: usual, match: {path: /usual}, sticky: {header: X-Customer-Id}, split: {v2: 100%}}
  - {name: guarded, match: {path: /guarded}, sticky: {header: X-Customer-Id}, split: {v2: 100%}}
  - {name: rollout, match: {path: /rollout}, sticky: {header: X-Customer-Id}, split: {v2: 100%}}
  - {name: body, match: {path: /body}, sticky: {json: customer_id}, split: {v2: 100%}}
  - name: prediction
    match: {path: /prediction}
    sticky: {header: X-Customer-Id}
    split: {v2: 100%}
    prediction: {score: churn_probability, decision: 0.5}
  - name: feedback
    match: {path: /feedback}
    sticky: {header: X-Customer-Id}
    split: {v2: 100%}
    feedback: {horizon: 7d}
  - name: cached
    match: {path: /cached}
    sticky: {header: X-Customer-Id}
    split: {v2: 100%}
    retry: {pure: true}
    cache: {ttl: 1h}
  - name: mirror
    match: {path: /mirror}
    sticky: {header: X-Customer-Id}
    split: {v2: 100%}
    mirror: [{to: v3, sample: 100%, safe: true}]
  - name: compared
    match: {path: /compared}
    sticky: {header: X-Customer-Id}
    split: {v2: 100%}
    mirror: [{to: v3, sample: 100%, noise: 0%, safe: true}]
    prediction: {score: churn_probability, decision: 0.5}
"""
BODY = b'{"customer_id": "c-1042", "features": [' + b", ".join(b"0.25" for _ in range(26)) + b"]}"
ANSWER_BODY = b'{"churn_probability": 0.25, "risk_level": "low", "model": "churn-2"}'
ANSWER_FIELDS = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: application/json\r\n"
WHOLE = ANSWER_FIELDS + b"content-length: %d\r\n\r\n%b" % (len(ANSWER_BODY), ANSWER_BODY)
HEAD_OF_CHUNKED = ANSWER_FIELDS + b"transfer-encoding: chunked\r\n\r\n"
LARGE = ANSWER_FIELDS + b"content-length: 100000\r\n\r\n" + b"x" * 32_000
PIECES = (b"x" * 34_000, b"x" * 34_000)
CHUNKS = (b"%x\r\n%b\r\n" % (len(ANSWER_BODY), ANSWER_BODY), b"0\r\n\r\n")


def request(path: str, field: bytes = b"") -> bytes:
    return (
        b"POST /%b HTTP/1.1\r\nHost: models.example\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Customer-Id: c-1042\r\n%b"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), field, len(BODY), BODY)
    )


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    request: bytes
    answer: tuple[bytes, ...]  # as it comes in
    is_copied: bool = False
    is_logged: bool = False
    is_new: bool = False  # the client's connection


KEPT = Case(
    "kept", "its answer is kept in the cache", request("cached", b"Cache-Control: no-cache\r\n"), (WHOLE,)
)
CASES = (
    Case("usual", "one piece each way", request("usual"), (WHOLE,)),
    Case("guarded", "the same, a rollout is guarded", request("guarded"), (WHOLE,)),
    Case("rollout", "the same, with latency limits", request("rollout"), (WHOLE,)),
    Case("connection", "a new connection of the client", request("usual"), (WHOLE,), is_new=True),
    Case("body", "sticky by a field of the body", request("body"), (WHOLE,)),
    Case("prediction", "a score is read from the answer", request("prediction"), (WHOLE,)),
    Case("feedback", "a row of the prediction log", request("feedback"), (WHOLE,)),
    KEPT,
    Case("hit", "answered from the cache", request("cached"), ()),
    Case("chunks", "the answer in chunks", request("usual"), (HEAD_OF_CHUNKED, *CHUNKS)),
    Case("large", "an answer of 100 kB", request("usual"), (LARGE, *PIECES)),
    Case("mirror", "mirrored", request("mirror"), (WHOLE,), is_copied=True),
    Case("compared", "mirrored and compared", request("compared"), (WHOLE,), is_copied=True),
    Case("logged", "with a line in the access log", request("usual"), (WHOLE,), is_logged=True),
)


class MemoryTransport(asyncio.Transport):
    """Takes what is written, and counts it."""

    written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        raise AssertionError("the proxy gave a connection up")

    def close(self) -> None:
        raise AssertionError("the proxy closed a connection")


def pooled(backend: BackendState) -> Upstream:
    """A connection in the pool of the backend's one endpoint."""
    (endpoint,) = backend.endpoints.values()
    upstream = Upstream(endpoint)
    upstream.connection_made(MemoryTransport())
    endpoint.put(upstream)
    return upstream


class Bench:
    """One data plane with one client, and a pooled connection to each backend. Make it inside a running loop."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            loaded = load(YAML, str(Path(place) / "routing.yaml"), {})
        names = [route.name for route in loaded.config.routes]
        ledgers = {name: new_ledger({"v2": BUCKETS}, salt_of(name)) for name in names}
        self.plane = DataPlane()
        roles: dict[str, dict[str, Role]] = {name: {"v2": "champion"} for name in names}
        limits: Limits = {"v2": (("latency", 30.0), ("slowest", 60.0))}
        trials = {"guarded": Trial(guarded=True), "rollout": Trial(guarded=True, limits=limits)}
        self.plane.use(compile_snapshot(loaded, ledgers, roles, (), 1, trials=trials))
        self.plane.stop_sweeping()
        self.client_side = MemoryTransport({"peername": ("127.0.0.1", 1)})
        self.client = self.connected()
        self.upstream = pooled(self.plane.backends["v2"])
        mirrors = self.plane.mirrors
        self.shadow = pooled(mirrors.state_of("v3", mirrors.specs["v3"]).backend)
        self.log = AccessLogger(AccessLog(os.devnull, 1.0, False))
        self.exchange(KEPT)  # for the hits
        self.plane.take()

    def connected(self) -> Downstream:
        client = Downstream(self.plane)
        client.connection_made(self.client_side)
        return client

    def exchange(self, case: Case) -> None:
        if case.is_new:
            self.client.connection_lost(None)
            self.client = self.connected()
        self.client.data_received(case.request)
        for piece in case.answer:
            self.upstream.data_received(piece)
        if case.is_copied:
            self.shadow.data_received(WHOLE)

    def run(self, case: Case, count: int) -> None:
        """So many exchanges, one after the other, and the report of them."""
        self.plane.access_log = self.log if case.is_logged else None
        for _ in range(count):
            self.exchange(case)
        self.log.flush()
        self.plane.take()
        self.plane.recorder.samples.take()
        self.plane.recorder.logged.take()

    def seconds(self, case: Case, count: int) -> float:
        """CPU of one exchange."""
        began = time.process_time()
        self.run(case, count)
        return (time.process_time() - began) / count


async def bench(cases: Sequence[Case], rounds: int, count: int, profile: bool) -> None:
    made = Bench()
    found: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(rounds):  # interleaved, so that noise hits all cases alike
        for case in cases:
            found[case.name].append(made.seconds(case, count) * 1e6)
    how = "interpreted" if str(exchange.__file__).endswith(".py") else "compiled"
    print(f"CPU of one exchange, {how}: {rounds} rounds of {count}")
    for case in cases:
        each = found[case.name]
        print(f"  {case.title:<32} least {min(each):6.2f} µs, median {median(each):6.2f} µs")
    if profile:
        with cProfile.Profile() as taken:
            for case in cases:
                made.run(case, count)
        pstats.Stats(taken).sort_stats("tottime").print_stats(25)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.exchange", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each case")
    parser.add_argument("--count", type=int, default=1000, help="exchanges in a round")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="this one alone")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args(argv)
    cases = [case for case in CASES if options.case in (None, case.name)]
    asyncio.run(bench(cases, options.rounds, options.count, options.profile))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
