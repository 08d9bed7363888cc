"""`python -m crossfade_backends.server` as a process, with uvloop, from its start to its exit."""

from __future__ import annotations

import asyncio
import shutil
import signal

import pytest
from aiohttp import ClientError, ClientSession

from crossfade_backends.batching import BatchLimits
from crossfade_backends.handlers import DEAD_EXIT_CODE
from crossfade_backends.registry import MODEL_FILE
from crossfade_backends.server import ServerConfig, parse_config
from tests.backends.serving import ROW, command, fetch, listening_url, until_healthy


async def test_sigterm_lets_predictions_in_flight_finish(registry):
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


async def test_the_cut_fault_truncates_the_body_on_uvloop(registry):
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
async def test_drop_dead_ends_the_process_with_exit_code_70(registry, answer_first):
    async with command("--registry", str(registry), "--version", "v2") as process:
        async with ClientSession(await listening_url(process)) as client:
            request = fetch(client, "PUT", "/faults", json={"drop_dead": True, "answer_first": answer_first})
            if answer_first:
                assert (await request)[0] == 200
            else:
                with pytest.raises(ClientError):
                    await request
        assert await process.wait() == DEAD_EXIT_CODE


async def test_environment_variables_select_registry_and_version(registry):
    names = {"CROSSFADE_MODEL_REGISTRY": str(registry), "CROSSFADE_MODEL_VERSION": "v4"}
    async with command(**names) as process, ClientSession(await listening_url(process)) as client:
        assert (await fetch(client, "GET", "/health"))[1]["version"] == "v4"


async def test_a_damaged_model_file_ends_the_process_with_its_name(registry, tmp_path):
    shutil.copytree(registry, tmp_path / "models")
    path = tmp_path / "models/churn/v3" / MODEL_FILE
    path.write_bytes(path.read_bytes()[:-1])
    async with command("--registry", str(tmp_path / "models"), "--version", "v3") as process:
        _, err = await process.communicate()
        assert process.returncode == 1
        assert err.decode().startswith(f"error: {path}: SHA-256 is ")


async def test_a_port_in_use_ends_the_process_with_exit_code_1(registry):
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


def test_flags_override_the_environment(monkeypatch):
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


def test_defaults_of_the_configuration(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"CROSSFADE_MODEL_{name}", raising=False)
    config = parse_config(["--version", "v2"])
    assert config == ServerConfig(config.registry, "v2")
    assert str(config.registry) == "models"


def test_limits_of_a_batch_come_from_flags_and_the_environment(monkeypatch):
    monkeypatch.setenv("CROSSFADE_MODEL_BATCH_ROWS", "16")
    monkeypatch.setenv("CROSSFADE_MODEL_BATCH_WAIT", "1.5")
    assert parse_config(["--version", "v2"]).batch == BatchLimits(16, 0.0015)
    assert parse_config(["--version", "v2", "--batch-rows", "1", "--batch-wait", "0"]).batch == BatchLimits(1)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--batch-rows", "0", "0 is not in 1..1000"),
        ("--batch-rows", "1001", "1001 is not in"),
        ("--batch-rows", "1.5", "invalid"),
        ("--batch-wait", "-1", "-1 is not in 0..1000"),
        ("--batch-wait", "1001", "1001 is not in"),
        ("--batch-wait", "nan", "nan is not in"),
        ("--batch-wait", "2ms", "invalid"),
    ],
)
def test_limits_of_a_batch_are_checked(capsys, flag, value, message):
    with pytest.raises(SystemExit):
        parse_config(["--version", "v2", f"{flag}={value}"])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("port", "message"), [("70000", "70000 is not in 0..65535"), ("-1", "-1 is not in"), ("http", "invalid")]
)
def test_an_invalid_port_in_the_environment_is_refused(monkeypatch, capsys, port, message):
    monkeypatch.setenv("CROSSFADE_MODEL_PORT", port)
    with pytest.raises(SystemExit):
        parse_config(["--version", "v2"])
    assert message in capsys.readouterr().err


def test_a_version_is_required(monkeypatch, capsys):
    monkeypatch.delenv("CROSSFADE_MODEL_VERSION", raising=False)
    with pytest.raises(SystemExit):
        parse_config([])
    assert "--version" in capsys.readouterr().err
