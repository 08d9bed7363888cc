"""diff, reload, export and restart: what an edit of the file does, before and after."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.admin.site import FILE, Site

from .conftest import Shell

EDITED = FILE.replace("{weight: 50%, hold: 10s}", "{weight: 50%, hold: 20s}")


async def test_diff_says_what_a_file_would_do_and_changes_nothing(
    site: Site, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text(EDITED.replace("127.0.0.1:9004]", "127.0.0.1:9004, http://127.0.0.1:9014]"))
    before = await site.get("/api/v1/decisions")
    result = await shell.run_with_admin("diff", str(file))
    assert (result.code, result.out.splitlines()[:2]) == (
        0,
        [
            "backend v4: endpoint http://127.0.0.1:9014 is new",
            "churn: edit: hold of step 2: 10s → 20s; nobody moves",
        ],
    )
    assert await site.get("/api/v1/decisions") == before
    file.write_text(FILE.replace("workers", "# workers"))
    assert (await shell.run_with_admin("diff", str(file))).out.splitlines()[0] == "It would change nothing."


async def test_diff_says_what_would_be_refused(site: Site, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text(FILE.replace("json: customer_id", "header: x-customer"))
    result = await shell.run_with_admin("diff", str(file))
    assert result.code == 1
    assert "It would be refused: route churn: another sticky key would move customers" in result.out
    file.write_text("\nlisten: [")
    result = await shell.run_with_admin("diff", str(file))
    assert (result.code, result.out) == (1, "")
    assert "routing.yaml:3:1: not YAML" in result.err
    assert (await shell.run_with_admin("diff", str(tmp_path / "none.yaml"))).code == 1


async def test_reload_prints_what_it_did(site: Site, shell: Shell) -> None:
    site.reloads.file = EDITED.replace("listen: 127.0.0.1:0", "listen: 127.0.0.1:1")
    result = await shell.run_with_admin("reload")
    assert result.out.splitlines()[1:3] == [
        "churn: edit: hold of step 2: 10s → 20s; nobody moves",
        "Differs from the last start, and acts at the next: listen.",
    ]
    assert "acts at the next: listen" in (await shell.run_with_admin("status")).out
    site.reloads.file = EDITED
    result = await shell.run_with_admin("reload")
    assert result.out.splitlines()[1] == "nothing has changed"
    assert "acts at the next" not in (await shell.run_with_admin("status")).out


async def test_export_prints_the_file_as_the_state_has_it(site: Site, shell: Shell) -> None:
    assert (await shell.run_with_admin("export")).out.rstrip("\n") == FILE.rstrip("\n")
    await shell.run_with_admin("promote", "churn", "--force")
    page = await site.session.get(f"{site.url}/metrics")
    assert 'crossfade_config_differs_from_state{route="churn"} 2.0' in await page.text()
    status = await shell.run_with_admin("status")
    assert (
        "churn: the file says split v2 100%, the state has v3 100%: write `split: {v3: 100%}`" in status.out
    )
    result = await shell.run_with_admin("export")
    exported = FILE[: FILE.index("    rollout:")].replace("split: {v2: 100%}", "split: {v3: 100%}")
    assert (result.out.rstrip("\n"), result.err) == (exported.rstrip("\n"), "")
    site.reloads.file = result.out
    await shell.run_with_admin("reload")
    page = await site.session.get(f"{site.url}/metrics")
    assert 'crossfade_config_differs_from_state{route="churn"} 0.0' in await page.text()
    assert (await site.get("/api/v1/routes/churn"))["split"]["v3"] == 1.0


async def test_restart_begins_anew(site: Site, shell: Shell) -> None:
    result = await shell.run_with_admin("restart", "churn", "--reason", "new data")
    assert (result.code, result.out.splitlines()[0]) == (0, "churn: progressing, step 1/2, v3 at 0%")
    decision = (await site.get("/api/v1/decisions"))["decisions"][-1]
    assert (decision["action"], decision["reason"], decision["to"]["attempt"]) == ("restart", "new data", 2)


async def test_export_says_that_secrets_are_left_out(site: Site, shell: Shell) -> None:
    site.reloads.file = FILE + "override: {secret: a-secret-of-24-characters}\n"
    await site.ask("POST", "/api/v1/reload")
    result = await shell.run_with_admin("export")
    assert 'override: {secret: "***"}' in result.out
    assert result.err == "secrets are shown as ***: write them, or variables, in their place\n"


async def test_diff_reads_standard_input_as_check_does(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(EDITED.encode())))
    result = await shell.run_with_admin("diff", "-")
    assert result.out.splitlines()[0] == "churn: edit: hold of step 2: 10s → 20s; nobody moves"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"listen: \xff")))
    result = await shell.run_with_admin("diff", "-")
    assert (result.code, result.out) == (1, "")
    assert "<stdin>:1:" in result.err
