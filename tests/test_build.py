"""What an installation is made of: compiled where that is possible, and never half of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("proxy", "backends", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def copied(to: Path) -> Path:
    """Builds leave traces beside the sources."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)
    return to


@pytest.mark.timeout(300)
def test_without_a_compiler_the_sources_are_installed_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = copied(tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    without = {**os.environ, "CC": "/bin/false", "CROSSFADE_COMPILE": ""}
    done = subprocess.run([*command, str(tmp_path), str(source)], env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*.whl")
    names = ZipFile(made).namelist()
    assert "crossfade/dataplane/exchange.py" in names
    assert not [name for name in names if name.endswith(".so")]
    # Other distributions install a package `proxy` too (proxy.py does): only these names are ours.
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "crossfade",
        "crossfade_backends",
    }


def test_nothing_compiled_lies_beside_sources_that_are_edited() -> None:
    """The tests' own installation is an editable one; a library there would be imported, however old."""
    assert not list(ROOT.glob("proxy/**/*.so"))
