"""The real process: `python -m crossfade_backends.server`, on uvloop, from its first line to its exit."""

from __future__ import annotations

import asyncio
import shutil
import signal

import pytest
from aiohttp import ClientError, ClientSession

from crossfade_backends.handlers import DEAD_EXIT_CODE
from crossfade_backends.registry import MODEL_FILE
from crossfade_backends.server import ServerConfig, parse_config
from tests.backends.serving import ROW, command, fetch, listening_url, until_healthy


async def test_serves_and_drains_on_sigterm(registry):
    async with command("--registry", str(registry), "--version", "v2") as process:
        async with ClientSession(await listening_url(process)) as client:
            await until_healthy(client)
            assert (await fetch(client, "POST", "/predict", json=ROW))[1]["model_version"] == "v2"
            await fetch(
                client, "PUT", "/faults", json={"latency": {"distribution": "constant", "mean_ms": 300}}
            )
            prediction = asyncio.create_task(fetch(client, "POST", "/predict", json=ROW))
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert (await prediction)[0] == 200
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_cut_on_uvloop(registry):
    async with (
        command("--registry", str(registry), "--version", "v2") as process,
        ClientSession(await listening_url(process)) as client,
    ):
        await until_healthy(client)
        await fetch(client, "PUT", "/faults", json={"cut": 1})
        answer = await client.post("/predict", json=ROW)
        assert answer.status == 200
        with pytest.raises(ClientError):
            await answer.read()


@pytest.mark.parametrize("answer_first", [False, True])
async def test_drop_dead(registry, answer_first):
    async with command("--registry", str(registry), "--version", "v2") as process:
        async with ClientSession(await listening_url(process)) as client:
            dead = fetch(client, "PUT", "/faults", json={"drop_dead": True, "answer_first": answer_first})
            if answer_first:
                assert (await dead)[0] == 200
            else:
                with pytest.raises(ClientError):
                    await dead
        assert await process.wait() == DEAD_EXIT_CODE


async def test_the_environment_says_what_to_serve(registry):
    names = {"CROSSFADE_MODEL_REGISTRY": str(registry), "CROSSFADE_MODEL_VERSION": "v4"}
    async with command(**names) as process, ClientSession(await listening_url(process)) as client:
        assert (await fetch(client, "GET", "/health"))[1]["version"] == "v4"


async def test_a_spoiled_model_ends_the_process(registry, tmp_path):
    shutil.copytree(registry, tmp_path / "models")
    path = tmp_path / "models/churn/v3" / MODEL_FILE
    path.write_bytes(path.read_bytes()[:-1])
    async with command("--registry", str(tmp_path / "models"), "--version", "v3") as process:
        _, err = await process.communicate()
        assert process.returncode == 1
        assert err.decode().startswith(f"error: {path}: SHA-256 is ")


async def test_a_port_that_is_taken(registry):
    async with command("--registry", str(registry), "--version", "v2") as first:
        port = (await listening_url(first)).rpartition(":")[2]
        async with command("--registry", str(registry), "--version", "v3", "--port", port) as second:
            _, err = await second.communicate()
        assert second.returncode == 1
        assert f"error: cannot listen on 127.0.0.1:{port}: " in err.decode()


VARIABLES = {
    "REGISTRY": "/somewhere",
    "NAME": "other",
    "VERSION": "v8",
    "HOST": "127.0.0.9",
    "PORT": "1234",
}


def test_flags_win_over_the_environment(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"CROSSFADE_MODEL_{name}", value)
    config = parse_config([])
    assert (str(config.registry), config.model, config.version) == ("/somewhere", "other", "v8")
    assert (config.host, config.port, config.seed) == ("127.0.0.9", 1234, None)
    flags = [
        "--registry",
        "here",
        "--model",
        "m",
        "--version",
        "v1",
        "--host",
        "::1",
        "--port",
        "0",
        "--seed",
        "4",
    ]
    config = parse_config(flags)
    assert (str(config.registry), config.model, config.version) == ("here", "m", "v1")
    assert (config.host, config.port, config.seed) == ("::1", 0, 4)


def test_defaults(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"CROSSFADE_MODEL_{name}", raising=False)
    config = parse_config(["--version", "v2"])
    assert config == ServerConfig(config.registry, "v2")
    assert str(config.registry) == "models"


@pytest.mark.parametrize(
    ("port", "message"), [("70000", "70000 is not in 0..65535"), ("-1", "-1 is not in"), ("http", "invalid")]
)
def test_a_bad_port_is_refused_from_the_environment_too(monkeypatch, capsys, port, message):
    monkeypatch.setenv("CROSSFADE_MODEL_PORT", port)
    with pytest.raises(SystemExit):
        parse_config(["--version", "v2"])
    assert message in capsys.readouterr().err


def test_a_version_is_required(monkeypatch, capsys):
    monkeypatch.delenv("CROSSFADE_MODEL_VERSION", raising=False)
    with pytest.raises(SystemExit):
        parse_config([])
    assert "--version" in capsys.readouterr().err
