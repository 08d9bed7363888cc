"""Serves one version of a model over HTTP: `python -m crossfade_backends.server --version v2`.

Rule: the server listens first and then loads the model in a thread; `/health` answers 503 until the
model is loaded. If it cannot be loaded, the process ends with an error that names the file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from aiohttp import web

from crossfade_backends.batching import MOST_ROWS, MOST_WAIT, BatchLimits
from crossfade_backends.cors import Cors, parse_origin
from crossfade_backends.faults import FaultSwitch
from crossfade_backends.handlers import ModelServer
from crossfade_backends.metrics import ServerMetrics
from crossfade_backends.rate_limit import RateLimit
from crossfade_backends.recipes import MODEL_NAME
from crossfade_backends.registry import RegistryError
from crossfade_backends.replies import render_refusals
from crossfade_backends.request_log import RequestLog
from crossfade_backends.scoring import ServedModel, load_served_model
from crossfade_backends.train import DEFAULT_REGISTRY

# Enough for MAX_ROWS rows with long numbers and spaces.
MAX_BODY = 8 * 1024 * 1024
# Time for predictions in flight to finish after SIGTERM.
_DRAIN_SECONDS = 10.0
_BATCHING = BatchLimits()

LOADED = web.AppKey("loaded", asyncio.Task[None])
Load = Callable[[Path, str, str], ServedModel]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    registry: Path
    version: str
    model: str = MODEL_NAME
    host: str = "127.0.0.1"
    port: int = 8000
    seed: int | None = None
    cors_origins: tuple[str, ...] = ()
    rate_limit: float | None = None  # requests a second of one client
    rate_burst: float | None = None
    request_log: str | None = None
    batch: BatchLimits = _BATCHING


def create_app(config: ServerConfig, load: Load = load_served_model) -> web.Application:
    """`app[LOADED]` is a task that ends when the model is loaded, or raises the error of the load."""
    metrics = ServerMetrics(config.model, config.version)
    faults = FaultSwitch(config.seed)
    server = ModelServer(config.model, config.version, faults, metrics, config.batch)

    async def load_model() -> None:
        try:
            model = await asyncio.to_thread(load, config.registry, config.model, config.version)
            metrics.describe_model(model.metadata)
            server.model = model
        except Exception as error:
            server.failure = str(error)
            raise

    async def load_in_background(app: web.Application) -> AsyncIterator[None]:
        app[LOADED] = asyncio.create_task(load_model())  # noqa: TID251 - main awaits it too
        yield
        app[LOADED].cancel()
        await asyncio.gather(app[LOADED], return_exceptions=True)

    async def release_hanging(app: web.Application) -> None:
        faults.released.set()

    app = web.Application(client_max_size=MAX_BODY)
    _add_middlewares(app, config, metrics)
    app.add_routes(server.routes())
    app.cleanup_ctx.append(load_in_background)
    app.on_shutdown.append(release_hanging)
    return app


def _add_middlewares(app: web.Application, config: ServerConfig, metrics: ServerMetrics) -> None:
    """The first one is the outermost. Raises OSError where the log cannot be opened."""
    if config.request_log is not None:
        log = RequestLog(config.request_log, metrics.log_dropped.inc)
        app.middlewares.append(log.note)

        async def close_log(app: web.Application) -> None:
            await asyncio.to_thread(log.close)

        app.on_cleanup.append(close_log)
    if config.cors_origins:
        cors = Cors(config.cors_origins)
        app.middlewares.append(cors.answer_preflight)
        app.on_response_prepare.append(cors.allow)
    app.middlewares.extend([metrics.measure, render_refusals])
    if config.rate_limit is not None:
        burst = max(1.0, config.rate_burst or config.rate_limit)
        app.middlewares.append(RateLimit(config.rate_limit, burst).limit)


async def start_server(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    """The runner, which the caller must clean up, and the URL. Port 0 selects a free port."""
    # Without cancellation a hanging prediction would go on after its client has disconnected.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    return runner, f"http://{f'[{host}]' if ':' in host else host}:{bound_port}"


async def serve(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT (returns 0), or until the model cannot be loaded (returns 1)."""
    try:
        app = await asyncio.to_thread(create_app, config)  # it may open a file
    except OSError as error:
        print(f"error: cannot write {config.request_log}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        runner, url = await start_server(app, config.host, config.port)
    except OSError as error:
        print(f"error: cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"listening on {url}", flush=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        return await _wait_for_end(app[LOADED], stopped)
    finally:
        await runner.cleanup()


async def _wait_for_end(loaded: asyncio.Task[None], stopped: asyncio.Event) -> int:
    stop = asyncio.create_task(stopped.wait())  # noqa: TID251 - it cannot fail
    try:
        await asyncio.wait((loaded, stop), return_when=asyncio.FIRST_COMPLETED)
        if loaded.done() and (failure := loaded.exception()):
            if not isinstance(failure, RegistryError):
                raise failure
            print(f"error: {failure}", file=sys.stderr)
            return 1
        await stop
        return 0
    finally:
        stop.cancel()


def parse_port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not in 0..65535")
    return port


def _parse_origin(text: str) -> str:
    try:
        return parse_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse_rate(text: str) -> float:
    rate = float(text)
    if not 0.001 <= rate <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not in 0.001..1000000")
    return rate


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cors-origin",
        dest="cors_origins",
        type=_parse_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="pages of this origin may ask, such as https://app.example.com; *: those of all (repeatable)",
    )
    parser.add_argument(
        "--rate-limit",
        type=_parse_rate,
        metavar="N",
        help="predictions a second of one client; more get a 429",
    )
    parser.add_argument(
        "--rate-burst",
        type=_parse_rate,
        metavar="N",
        help="predictions of one client at once (the rate limit)",
    )
    parser.add_argument(
        "--request-log",
        metavar="FILE",
        help="a line of JSON for each request, without bodies and secrets; - is stderr",
    )


def _parse_rows(text: str) -> int:
    rows = int(text)
    if not 1 <= rows <= MOST_ROWS:
        raise argparse.ArgumentTypeError(f"{rows} is not in 1..{MOST_ROWS}")
    return rows


def _parse_wait(text: str) -> float:
    """Milliseconds to seconds."""
    wait = float(text) / 1000
    if not 0 <= wait <= MOST_WAIT:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..{MOST_WAIT * 1000:.0f}")
    return wait


def _add_batching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-rows",
        type=_parse_rows,
        default=os.environ.get("CROSSFADE_MODEL_BATCH_ROWS", _BATCHING.rows),
        metavar="N",
        help="rows of different requests that are scored together at most (%(default)s); 1: each request alone",
    )
    parser.add_argument(
        "--batch-wait",
        type=_parse_wait,
        default=os.environ.get("CROSSFADE_MODEL_BATCH_WAIT", "0"),
        metavar="MS",
        help="milliseconds that a row waits for others at most, where others are expected (%(default)s)",
    )


def parse_config(arguments: Sequence[str] | None = None) -> ServerConfig:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.server",
        description="Serve one version of a model.",
        epilog="The variables CROSSFADE_MODEL_REGISTRY, _NAME, _VERSION, _HOST, _PORT, _BATCH_ROWS and _BATCH_WAIT "
        "set the defaults.",
    )
    # argparse applies `type` to a string default, so values from the environment are checked too.
    env = os.environ
    version = env.get("CROSSFADE_MODEL_VERSION")
    parser.add_argument(
        "--registry", type=Path, default=env.get("CROSSFADE_MODEL_REGISTRY", DEFAULT_REGISTRY)
    )
    parser.add_argument("--model", default=env.get("CROSSFADE_MODEL_NAME", MODEL_NAME))
    parser.add_argument("--version", default=version, required=version is None, help="for instance v2")
    parser.add_argument("--host", default=env.get("CROSSFADE_MODEL_HOST", "127.0.0.1"))
    parser.add_argument(
        "--port",
        type=parse_port,
        default=env.get("CROSSFADE_MODEL_PORT", "8000"),
        help="0 selects a free port",
    )
    parser.add_argument("--seed", type=int, help="seed of the random draws of faults")
    _add_limits(parser)
    _add_batching(parser)
    options = vars(parser.parse_args(arguments))
    if options["rate_burst"] is not None and options["rate_limit"] is None:
        parser.error("--rate-burst needs --rate-limit")
    batch = BatchLimits(options.pop("batch_rows"), options.pop("batch_wait"))
    return ServerConfig(**{**options, "cors_origins": tuple(options["cors_origins"])}, batch=batch)


def main(arguments: Sequence[str] | None = None) -> int:
    return uvloop.run(serve(parse_config(arguments)))


if __name__ == "__main__":
    sys.exit(main())
