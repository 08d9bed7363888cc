"""Commands that need no running proxy: check, schema, version, token, help; and what `run` and `demo` call."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import types
from importlib import metadata
from pathlib import Path

import pytest

from crossfade.__main__ import main
from crossfade.errors import RequestRefused
from crossfade.routing.override import read_token
from tests.admin.site import FILE

SECRET = "correct horse battery staple"
BAD = FILE.replace("v2: 100%", "v2: 90%").replace("challenger: v3", "challenger: v33")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    contents = {"good": FILE.encode(), "bad": BAD.encode(), "binary": b"\xff\xfe\x00"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in (*contents, "missing")}


def test_check_accepts_a_valid_file_and_prints_its_warnings(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", files["good"]]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{files['good']}:7:3: warning: backends.v4")
    assert err == f"{files['good']}: ok, 1 warning\n"


def test_check_prints_all_problems_of_all_files(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", files["bad"], files["good"], files["missing"], files["binary"]]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    errors = [line for line in lines if line.startswith(files["bad"]) and "warning" not in line]
    assert any("split" in line and "100%" in line for line in errors)
    assert any("v33" in line and 'did you mean "v3"' in line for line in errors)
    assert f"{files['missing']}:1:1: cannot be read: No such file or directory" in lines
    assert any(line.startswith(f"{files['binary']}:1:1: must be UTF-8") for line in lines)
    assert f"{files['bad']}: {len(errors)} errors" in err


def test_check_says_which_profile_of_drift_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, missing, file = tmp_path / "bad.json", tmp_path / "missing.json", tmp_path / "routing.yaml"
    bad.write_text("{}")
    route = f"    prediction: {{score: s}}\n    drift: {{baseline: {{v2: {bad}, v3: {missing}}}}}\n"
    file.write_text(
        "listen: 127.0.0.1:0\nbackends: {v2: {endpoints: [http://a:1]}, v3: {endpoints: [http://b:1]}}\n"
        "routes:\n  - name: r\n    match: {prefix: /}\n    split: {v2: 50%, v3: 50%}\n" + route
    )
    assert main(["check", str(file)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:8:28: warning: routes[0].drift.baseline.v2: {bad}: ")
    assert f"warning: routes[0].drift.baseline.v3: {missing}: cannot be read: No such file" in second


def test_check_prints_json(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", files["good"], files["bad"]]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good["ok"] and good["hash"] and [p["severity"] for p in good["problems"]] == ["warning"]
    assert not bad["ok"] and bad["hash"] is None
    assert {p["severity"] for p in bad["problems"]} == {"warning", "error"}
    assert all(p["line"] > 0 and p["column"] > 0 for p in bad["problems"])


@pytest.mark.parametrize(("text", "code"), [(FILE, 0), (BAD, 1)])
def test_check_reads_standard_input(
    text: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["check", "-"]) == code
    assert "<stdin>:" in capsys.readouterr().out


def test_check_fills_in_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE.replace("http://127.0.0.1:9002", '"http://127.0.0.1:${V2_PORT}"'))
    assert main(["check", str(path)]) == 1
    assert "V2_PORT" in capsys.readouterr().out
    monkeypatch.setenv("V2_PORT", "9002")
    assert main(["check", str(path)]) == 0


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"listen", "backends", "routes"} <= set(schema["properties"])


def test_version_says_whether_the_data_plane_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"crossfade {metadata.version('crossfade')}, interpreted\n"
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"version": metadata.version("crossfade"), "compiled": False}


def test_a_token_is_printed_as_json_with_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    before = time.time()
    assert main(["token", "churn", "v3", "--secret", SECRET, "--expires", "2m", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert before + 119 <= found["expires"] <= time.time() + 120
    assert read_token(SECRET, found["token"].encode(), "churn", time.time()) == "v3"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["check"],
        ["split", "churn"],
        ["pause"],
        ["status", "--wrong"],
        ["status", "--tok", "x"],
    ],
)
def test_a_wrong_command_line_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert exited.value.code == 2
    assert "usage: crossfade" in capsys.readouterr().err


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--help"])
    assert exited.value.code == 0
    out = capsys.readouterr().out
    for code in range(5):
        assert f"\n  {code}  " in out


def test_run_and_demo_call_their_modules_with_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    app, demo = types.ModuleType("crossfade.app"), types.ModuleType("crossfade.demo.main")
    monkeypatch.setattr(
        app,
        "serve",
        lambda path, takeover: (5 if takeover else 7) if path == "routing.yaml" else 0,
        raising=False,
    )
    monkeypatch.setattr(
        demo, "main", lambda story, keep: 8 if keep else {"rollouts": 9, "drift": 10}[story], raising=False
    )
    monkeypatch.setitem(sys.modules, "crossfade.app", app)
    monkeypatch.setitem(sys.modules, "crossfade.demo.main", demo)
    assert main(["run", "routing.yaml"]) == 7
    assert main(["run", "--takeover", "routing.yaml"]) == 5
    assert main(["demo", "--keep"]) == 8
    assert [main(["demo"]), main(["demo", "--story=drift"])] == [9, 10]


def test_commands_do_not_load_the_server() -> None:
    code = (
        "import sys; from crossfade.__main__ import main\n"
        "try: main(['status', '--admin', 'http://127.0.0.1:1'])\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "crossfade.cli.remote" in loaded
    assert not loaded & {
        "aiohttp",
        "asyncio",
        "pydantic",
        "rich",
        "uvloop",
        "yaml",
        "crossfade.app",
        "prometheus_client",
    }


def test_a_closed_output_pipe_is_no_error() -> None:
    shell = f"{sys.executable} -m crossfade schema | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{", "0"]
    assert done.stderr == ""


def token_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> bytes:
    assert main(["token", "churn", "v3", *arguments]) == 0
    return capsys.readouterr().out.strip().encode()


def test_a_token_is_signed_with_the_secret_of_the_file_the_option_or_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_OVERRIDE_SECRET", SECRET)
    file = tmp_path / "routing.yaml"
    file.write_text(f'override: {{secret: "${{CROSSFADE_OVERRIDE_SECRET}}"}}\n{FILE}')
    for arguments in (["--config", str(file)], [], ["--secret", SECRET]):
        token = token_of(*arguments, "--expires", "2m", capsys=capsys)
        assert read_token(SECRET, token, "churn", time.time() + 100) == "v3"
        with pytest.raises(RequestRefused, match="expired"):
            read_token(SECRET, token, "churn", time.time() + 121)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fraud", "v3", "--config", "FILE"], 4, "no route is called fraud"),
        (["churn", "v9", "--config", "FILE"], 4, "no backend is called v9"),
        (["churn", "v3", "--config", "FILE"], 1, "override.secret is not set"),
        (["churn", "v3", "--config", "nowhere"], 1, "cannot be read"),
        (["churn", "v3"], 2, "no secret"),
        (["churn", "v3", "--secret", "x", "--expires", "soon"], 2, "--expires must be"),
    ],
)
def test_a_token_for_unknown_names_or_without_a_secret_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.delenv("CROSSFADE_OVERRIDE_SECRET", raising=False)
    file = tmp_path / "routing.yaml"
    file.write_text(FILE)
    assert main(["token", *(str(file) if a == "FILE" else a for a in arguments)]) == code
    assert message in capsys.readouterr().err


def test_check_finds_a_missing_certificate_as_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text(f"tls: {{cert: {tmp_path}/no.pem, key: {tmp_path}/no.key}}\n" + FILE)
    for command in ("check", "run"):
        assert main([command, str(file)]) == 1
        shown = "".join(capsys.readouterr())
        assert "routing.yaml:1:13: tls.cert: cannot be read: No such file or directory" in shown
        assert "tls.key: cannot be read" in shown


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("statuz", "Did you mean `crossfade status`?"),
        ("Promot", "Did you mean `crossfade promote`?"),
        ("nosuch", "`crossfade --help` lists the commands."),
        ("\x1b[2J", "`crossfade --help` lists the commands."),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_one(
    word: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "--json"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f'crossfade: there is no command "{word}"'.replace("\x1b", "?"), advice]
