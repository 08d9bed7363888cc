"""What does each feature cost beside nginx? `python -m loadtests.features` takes about twenty minutes.

For each row, nginx (`split_clients`, no access log) and crossfade are started anew and do the same small POST, a second in turns; a
row's figure is the ratio of their CPU time for a request (for a stream: for an event) in two turns one behind the other, which mostly meet
the same noise of the machine. The table has the median of all turns of all starts, and the least and the largest; "worker" is what the worker alone takes of it. The origins are
nginx processes with constant answers, so that the proxy's core is the limit; `busy` says whether it was. The features are only crossfade's: nginx does without.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from loadtests.accounting import cpu_seconds, worker_seconds
from loadtests.command import exit_code_of
from loadtests.generators import paced, run_generator
from loadtests.measure import start, start_origins
from loadtests.measured_proxy import MeasuredProxy, Origins, path_of
from loadtests.ports import free_ports
from loadtests.processes import child, wait_until_answering
from loadtests.proxies import COMPILED, nginx
from loadtests.tables import aligned
from loadtests.work import EVENTS, HEADER, Cores, pick_cores, work_named
from tests.certificates import Authority

TURN = 1  # seconds
_SCRIPT = Path(__file__).with_name("load.lua")
_ANSWER = '{"customer_id":"c-000042","churn_probability":0.4217,"risk_level":"medium","model_version":"v2"}'
_SAME_HEADERS = """\
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header Forwarded 'for=$remote_addr;proto=$scheme;host="$http_host"';
    proxy_set_header x-request-id $request_id;
    proxy_set_header traceparent "00-$request_id-0123456789abcdef-00";
    add_header x-request-id $request_id;
    add_header x-crossfade-backend $origin;
"""
_ROLLOUT = """\
    rollout:
      strategy: canary
      champion: a
      challenger: b
      steps: [{weight: 10%, hold: 24h}]
      checks:
        - {metric: error_rate, max_increase: 1%}
        - {metric: latency, quantile: p99, max_ratio: 1.25}
        - {metric: rejected, max_increase: 1%}
"""
_MIRROR = "    mirror: [{to: c, sample: 100%, safe: true}]\n"
_PREDICTION = "    prediction: {score: churn_probability}\n"
_SAMPLED = "    prediction: {score: churn_probability, sample: 10%}\n"
_FEEDBACK = _PREDICTION + "    feedback: {horizon: 7d}\n"
_DECISION = "    prediction: {score: churn_probability, decision: 0.5}\n"


@dataclass(frozen=True, slots=True)
class Row:
    """`goal`: the largest ratio. `top` and `route` are lines of the configuration; `nginx`: lines of nginx's."""

    name: str
    title: str
    goal: float
    route: str = ""
    top: str = ""
    nginx: str = ""
    work: str = "json"
    is_paced: bool = False
    secure: bool = False
    closes: bool = False
    compiled: bool = True


ROWS = (
    Row("plain", "the proxy's core full", 0.95),
    Row("headers", "beside nginx that adds the same headers", 0.82, nginx=_SAME_HEADERS),
    Row("rollout", "a rollout with checks of errors and latency", 0.97, route=_ROLLOUT),
    Row("prediction", "a prediction is read from answers", 1.0, route=_PREDICTION),
    Row("feedback", "and each request is in the prediction log", 1.1, route=_FEEDBACK),
    Row("sampled", "a prediction is read from a tenth of the answers", 1.0, route=_SAMPLED),
    Row("mirror", "all requests mirrored", 1.5, route=_MIRROR),
    Row("compared", "all requests mirrored, decisions compared", 1.6, route=_MIRROR + _DECISION),
    Row("access_log", "access log of all requests", 1.4, top="access_log: {to: FOLDER/access.log}\n"),
    Row("tls", "TLS, keep-alive", 1.1, secure=True),
    Row("handshakes", "TLS, a handshake for each request", 1.4, secure=True, closes=True),
    Row("connections", "a connection for each request", 0.98, closes=True),
    Row("large", "answers of 100 kB", 0.98, work="large"),
    Row("sse", "server-sent events", 1.1, work="sse", is_paced=True),
    Row("rate", "2 000 requests a second", 1.05, is_paced=True),
    Row("interpreted", "from its sources, not compiled", 1.8, compiled=False),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one turn: CPU time in µs for a request, or for an event of a stream; `busy`: of the proxy's core; `worker`: of `cpu`, the worker's."""

    cpu: float
    busy: float
    errors: int
    worker: float = 0.0


@dataclass(slots=True)
class Found:
    """The samples of one row: of nginx and of crossfade, by turn."""

    row: Row
    nginx: list[Sample] = field(default_factory=list)
    ours: list[Sample] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [ours.cpu / theirs.cpu for ours, theirs in zip(self.ours, self.nginx, strict=True)]


def crossfade(
    row: Row, folder: Path, origins: Origins, tls: tuple[str, str], compiled: Path
) -> MeasuredProxy:
    port, admin = free_ports(2)
    file = folder / "features.yaml"
    backends = "".join(
        f"  {name}: {{endpoints: [http://127.0.0.1:{p}], max_in_flight: 4096}}\n"
        for name, p in origins.items()
    )
    split = "a: 100%" if row.route == _ROLLOUT else "a: 90%, b: 10%"
    secure = f"tls: {{cert: {tls[0]}, key: {tls[1]}}}\n" if row.secure else ""
    file.write_text(
        f"listen: 127.0.0.1:{port}\nadmin: {{listen: 127.0.0.1:{admin}}}\nworkers: 1\n"
        f"state: sqlite:{folder}/crossfade.db\n{secure}{row.top.replace('FOLDER', str(folder))}backends:\n{backends}"
        f"routes:\n  - name: bench\n    match: {{prefix: /}}\n    sticky: {{header: {HEADER}}}\n"
        f"    split: {{{split}}}\n{row.route}"
    )
    command = [sys.executable, "-P", "-m", "crossfade"]
    if row.compiled:
        command = ["env", f"PYTHONPATH={compiled}", *command]
    return MeasuredProxy("crossfade", "", port, [*command, "run", str(file)], [], secure=row.secure)


def start_constant_origins(cores: Cores, folder: Path, stack: ExitStack) -> Origins:
    """nginx processes: they cost a third of the CPU of the origins of `bench`."""
    origins = dict(zip("abc", free_ports(3), strict=True))
    file, large, log = folder / "origins.conf", folder / "large", folder / "origins.log"
    large.write_bytes(b"x" * 100_000)
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} backlog=1024; default_type application/json; add_header X-Origin {name};\n"
        f"  location / {{ return 200 '{_ANSWER}'; }}\n  location = /large {{ alias {large}; }} }}\n"
        for name, port in origins.items()
    )
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(
        f"daemon off; {user} worker_processes 1; pid {folder}/origins.pid; error_log stderr;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/bodies; keepalive_requests 100000000;\n{servers}}}\n"
    )
    argv = [path_of("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(file)]
    process = stack.enter_context(child(argv, cores.load, log))
    for port in origins.values():
        wait_until_answering(process, port, log)
    return origins


def load_of(row: Row, port: int, seconds: int) -> list[str]:
    work = work_named(row.work)
    if row.is_paced:
        return paced(port, work, seconds)
    scheme = "https" if row.secure else "http"
    return [
        *("wrk", "--threads", "1", "--connections", "64", "--duration", f"{seconds}s"),
        *("--script", str(_SCRIPT), f"{scheme}://127.0.0.1:{port}", "--", work.method, work.path),
        *(work.body.decode(), "close" if row.closes else ""),
    ]


def measure(row: Row, proxy: MeasuredProxy, pid: int, cores: Cores) -> Sample:
    """One turn."""
    before, worker = cpu_seconds(pid), worker_seconds(pid)
    found = run_generator(load_of(row, proxy.port, TURN), TURN, cores.load)
    cpu, worker = cpu_seconds(pid) - before, worker_seconds(pid) - worker
    parts = EVENTS if row.work == "sse" else 1
    each = 1e6 / found.requests / parts
    return Sample(cpu * each, cpu / found.seconds, found.errors, worker * each)


def measure_beside(
    found: Found, proxies: Sequence[MeasuredProxy], places: Sequence[Path], turns: int, cores: Cores
) -> None:
    """One start of nginx and crossfade, which are warmed up for a second and then measured in turns."""
    row = found.row
    with ExitStack() as stack:
        pids = []
        for proxy, place in zip(proxies, places, strict=True):
            target = start(proxy, cores, place, stack)
            assert target.pid is not None
            pids.append(target.pid)
            run_generator(load_of(row, proxy.port, TURN), TURN, cores.load)
        for _ in range(turns):
            for samples, proxy, pid in zip((found.nginx, found.ours), proxies, pids, strict=True):
                samples.append(measure(row, proxy, pid, cores))


def run(rows: Sequence[Row], starts: int, turns: int, compiled: Path) -> list[Found]:
    """Raises BenchError. Rows are interleaved, so that noise of the machine affects all of them."""
    cores = pick_cores()
    found = [Found(row) for row in rows]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfade-features-")))
        tls = Authority(folder).files("127.0.0.1")
        constant = start_constant_origins(cores, folder, stack)
        streaming = (
            start_origins(cores, folder, stack) if any(row.work == "sse" for row in rows) else constant
        )
        for n in range(starts):
            for each in found:
                row = each.row
                print(f"start {n + 1} of {starts}: {row.title}", file=sys.stderr, flush=True)
                origins = streaming if row.work == "sse" else constant
                places = [folder / f"{row.name}-{n}-{who}" for who in ("nginx", "ours")]
                for place in places:
                    place.mkdir()
                theirs = nginx(places[0], origins, row.nginx, tls if row.secure else None)
                ours = crossfade(row, places[1], origins, tls, compiled)
                measure_beside(each, (theirs, ours), places, turns, cores)
    return found


def render(found: Sequence[Found]) -> str:
    rows = [
        [
            "row",
            "",
            "nginx µs",
            "crossfade µs",
            "÷ nginx",
            "least",
            "most",
            "goal",
            "",
            "busy",
            "failed",
            "worker µs",
        ]
    ]
    for each in found:
        ratios = each.ratios
        ratio = median(ratios)
        rows.append(
            [
                each.row.name,
                each.row.title,
                f"{median(s.cpu for s in each.nginx):.1f}",
                f"{median(s.cpu for s in each.ours):.1f}",
                f"{ratio:.2f}",
                f"{min(ratios):.2f}",
                f"{max(ratios):.2f}",
                f"{each.row.goal:.2f}",
                "reached" if ratio <= each.row.goal else "missed",
                f"{median(s.busy for s in each.ours):.0%}",
                str(sum(s.errors for s in (*each.ours, *each.nginx))),
                f"{median(s.worker for s in each.ours):.1f}",
            ]
        )
    return "\n".join(aligned(rows))


def tell(found: list[Found], options: argparse.Namespace) -> None:
    load = os.getloadavg()[2]
    print(
        f"Medians of {options.starts} starts, {options.turns} turns of {TURN} s each; load average of 15 minutes: {load:.1f}\n"
    )
    print(render(found))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.features", description=__doc__)
    parser.add_argument("--starts", type=int, default=5, help="of each row (%(default)s)")
    parser.add_argument(
        "--turns", type=int, default=3, help="of nginx and of crossfade in a start (%(default)s)"
    )
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], help="only this one")
    parser.add_argument(
        "--compiled", type=Path, default=COMPILED, help="where the compiled package is installed"
    )
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if options.row is None or row.name in options.row]
    return exit_code_of(lambda: tell(run(rows, options.starts, options.turns, options.compiled), options))


if __name__ == "__main__":
    sys.exit(main())
