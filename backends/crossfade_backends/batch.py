"""Scores a file of customers: `python -m crossfade_backends.batch --model churn@production IN.parquet OUT.parquet`.

Rule: the same model objects, limits and scores as the server. OUT appears when it is complete; until then `OUT.partial/` has what
is done, and the same command goes on from there. Rows that cannot be scored go to `OUT.bad.ndjson` with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from crossfade_backends.batch_input import BatchError, Chunk, chunks, format_of, has_whole_keys
from crossfade_backends.batch_parts import Parts, Totals
from crossfade_backends.recipes import MODEL_NAME
from crossfade_backends.registry import Metadata, RegistryError
from crossfade_backends.stages import named_version
from crossfade_backends.train import DEFAULT_REGISTRY

DEFAULT_CHUNK = 50_000
DEFAULT_AT_ONCE = 64
GIVE_UP = 600.0
_REPORT_EVERY = 5.0  # seconds between lines where there is no terminal


class Options(NamedTuple):
    source: Path
    out: Path
    model: str
    registry: Path
    via: str
    processes: int
    chunk: int
    at_once: int
    give_up: float
    restart: bool
    overwrite: bool
    summary: Path | None


def run(options: Options) -> dict[str, Any]:
    """The summary. Raises BatchError or RegistryError; then what is done is kept."""
    begun = time.monotonic()
    kind = format_of(options.out)
    format_of(options.source)
    if options.out.exists() and not options.overwrite:
        raise BatchError(f"{options.out}: exists already; --overwrite replaces it")
    served = None if options.via else named_version(options.registry, options.model)
    parts = Parts(options.out, kind, has_whole_keys(options.source, "customer_id"))
    try:
        done = parts.begin(_identity(options, served), datetime.now(UTC).date(), options.restart)
        scored = 0
        with _Shown(options.source) as progress:
            for chunk, rows, bad in _scored(options, served, chunks(options.source, options.chunk, done)):
                parts.write(chunk.index, rows, bad)
                scored += len(rows) + len(bad)
                progress.tell(chunk.read, scored, time.monotonic() - begun)
        totals = parts.finish()
    except OSError as error:
        raise BatchError(f"{error.filename or options.source}: {error.strerror or error}") from None
    finally:
        parts.close()
    return _summary(options, totals, len(done), scored, time.monotonic() - begun)


def _identity(options: Options, served: Metadata | None) -> dict[str, Any]:
    """What must not change between a run and the one that goes on."""
    try:
        source = options.source.stat()
    except OSError as error:
        raise BatchError(f"{options.source}: {error.strerror}") from None
    by = options.via if served is None else f"{served.name}@{served.version} {served.model_sha256}"
    return {
        "input": str(options.source.absolute()),
        "size": source.st_size,
        "changed_ns": source.st_mtime_ns,
        "scored by": by,
        "chunk": options.chunk,
        "format": format_of(options.out),
    }


def _scored(options: Options, served: Metadata | None, given: Iterable[Chunk]) -> Iterator[Any]:
    # What scores imports numpy, scikit-learn or aiohttp: each only where it is used.
    if served is None:
        from crossfade_backends.batch_proxy import ThroughProxy

        return ThroughProxy(options.via, options.at_once, options.give_up).score_all(given)
    from crossfade_backends.batch_model import score_all

    return score_all(given, options.registry, served.name, served.version, options.processes)


def _summary(options: Options, totals: Totals, resumed: int, scored: int, seconds: float) -> dict[str, Any]:
    made: dict[str, Any] = {
        "out": str(options.out),
        "rows": totals.rows,
        "bad": totals.bad,
        "versions": dict(sorted(totals.versions.items())),
        "risk_levels": dict(sorted(totals.risk_levels.items())),
        "scores": {
            "mean": totals.score_sum / totals.rows if totals.rows else None,
            "quantiles": {f"p{q}": totals.quantile(q / 100) for q in (1, 10, 50, 90, 99)},
            "histogram": totals.bins,
        },
        "seconds": round(seconds, 3),
        "rows_per_second": round(scored / seconds) if seconds else 0,
        "chunks_done_before": resumed,
    }
    if totals.bad:
        made["bad_rows"] = f"{options.out}.bad.ndjson"
    if options.summary is not None:
        options.summary.write_text(json.dumps(made, indent=2) + "\n")
    return made


class _Shown:
    """Progress on stderr: a bar on a terminal, else a line from time to time."""

    def __init__(self, source: Path) -> None:
        console = Console(stderr=True)
        columns = ("[progress.description]{task.description}", "{task.fields[rate]}")
        self.bar: Progress | None = None
        if console.is_terminal:
            first, last = map(TextColumn, columns)
            self.bar = Progress(
                first, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), last, console=console
            )
            self.task = self.bar.add_task(source.name, total=1.0, rate="")
        self.told_at = 0.0

    def __enter__(self) -> _Shown:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def tell(self, read: float, rows: int, seconds: float) -> None:
        """`read`: the share of the file; `rows`: scored in these seconds."""
        rate = f"{rows / max(seconds, 1e-9):,.0f} rows/s"
        if self.bar is not None:
            self.bar.update(self.task, completed=read, rate=rate)
        elif seconds - self.told_at >= _REPORT_EVERY:
            self.told_at = seconds
            left = seconds * (1 - read) / max(read, 1e-9)
            print(f"{read:.0%}  {rows:,} rows  {rate}  {left:.0f} s left", file=sys.stderr, flush=True)


def add_scorer(parser: argparse.ArgumentParser) -> None:
    """Who scores: a version in this process, or the proxy. A stream has the same."""
    parser.add_argument(
        "--model",
        default=f"{MODEL_NAME}@production",
        metavar="NAME@WHICH",
        help="a version, or a stage (default: %(default)s)",
    )
    parser.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    parser.add_argument(
        "--via",
        default="",
        metavar="URL",
        help="ask the proxy instead, a request for each row: http://proxy:8080/predict",
    )
    parser.add_argument(
        "--at-once",
        type=positive,
        default=DEFAULT_AT_ONCE,
        metavar="N",
        help="with --via: at most so many requests (default: %(default)s)",
    )


def parse(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.batch", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "source", type=Path, metavar="IN", help="a file of customers: .parquet, .csv, .ndjson"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the scores: .parquet, .csv, .ndjson")
    add_scorer(parser)
    parser.add_argument(
        "--processes",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="default: one for each core",
    )
    parser.add_argument(
        "--chunk",
        type=positive,
        default=DEFAULT_CHUNK,
        metavar="ROWS",
        help="default: %(default)s; row groups of Parquet are never joined",
    )
    parser.add_argument(
        "--give-up",
        type=float,
        default=GIVE_UP,
        metavar="SECONDS",
        help="with --via: how long nothing may be answered (default: %(default)g)",
    )
    parser.add_argument("--restart", action="store_true", help="forget what an interrupted run has done")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="the summary goes to this file too")
    return Options(**vars(parser.parse_args(arguments)))


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: it could not go on, and says why; 130: interrupted. What is done is kept in both cases."""
    try:
        print(json.dumps(run(parse(arguments)), indent=2))
    except (BatchError, RegistryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
