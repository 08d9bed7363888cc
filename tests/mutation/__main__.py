"""`make mutants`: which changes to a pure file no test notices. For the night: CI does not run it.

cosmic-ray makes one small change at a time, in a copy of the tree, and runs the file's tests for each. A file's tests
are its own test file and those beside it that import it. What survives is printed; it is a gap in the tests, or a
change that makes no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

PACKAGE = Path("proxy/crossfade")
PURE = ("config", "errors.py", "http1", "quality", "rollout", "routing", "stats")
COPY = Path(".venv/mutants")

# Changes worth a run. The others (`a < b` to `a is b`, `a - b` to `a ** b`, `X | None` in a type) say nothing new.
COMPARISONS = "Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In"
LEFT_OUT = (
    f"core/ReplaceComparisonOperator_(?!({COMPARISONS})$)",
    "core/ReplaceBinaryOperator_(?!(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul)$)",
)
CONFIG = """\
[cosmic-ray]
module-path = {module}
timeout = {timeout}
excluded-modules = []
test-command = {command}

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {left_out}
"""


class Outcome(NamedTuple):
    """`survived`: the changes, as differences of lines."""

    killed: int
    survived: list[str]

    @property
    def score(self) -> str:
        total = self.killed + len(self.survived)
        return f"{self.killed} of {total} killed ({self.killed / max(total, 1):.0%})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("files", nargs="*", type=Path, help="under proxy/crossfade; else what changed since")
    parser.add_argument("--since", default="main", help="a revision (default: %(default)s)")
    options = parser.parse_args()
    files = options.files or list(changed_since(options.since))
    copy_tree()
    outcomes = [outcome for file in files if (outcome := mutated(file)) is not None]
    whole = Outcome(sum(o.killed for o in outcomes), [change for o in outcomes for change in o.survived])
    print(f"\n{len(outcomes)} files: {whole.score}")
    return 0 if len(outcomes) == len(files) else 1


def changed_since(revision: str) -> Iterator[Path]:
    """The pure files that are there."""
    asked = [
        "git",
        "diff",
        "--name-only",
        "--diff-filter=d",
        revision,
        "--",
        *(f"{PACKAGE}/{p}" for p in PURE),
    ]
    named = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    yield from (Path(name) for name in named if name.endswith(".py"))


def copy_tree() -> None:
    """As it is on disk, committed or not: a run that is broken off leaves a changed file there, and not here."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(os.path.isfile, names):
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, COPY / name)


def suite_of(file: Path) -> list[str]:
    """Its own test file first, as what it finds saves the others' time."""
    inside = file.relative_to(PACKAGE)
    own = Path("tests") / inside.parent / f"test_{inside.name}"
    name = ".".join(("crossfade", *inside.with_suffix("").parts))
    beside = [test for test in sorted(own.parent.glob("test_*.py")) if imports(test, name) and test != own]
    return [str(test) for test in [own, *beside] if test.is_file()]


def imports(test: Path, name: str) -> bool:
    package, _, module = name.rpartition(".")
    text = test.read_text()
    return f"from {name} import" in text or f"from {package} import {module}\n" in text


def mutated(file: Path) -> Outcome | None:
    """None where there are no tests, or they fail without any change."""
    tests = suite_of(file)
    command = shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests])
    began = monotonic()
    if not tests or run(shlex.split(command)).returncode:
        print(f"{file}: {'its tests fail' if tests else 'there are no tests of it'}")
        return None
    config = {
        "module": str(file), "timeout": 10 + 5 * (monotonic() - began), "command": command, "left_out": LEFT_OUT,
    }  # fmt: skip
    text = CONFIG.format_map({key: json.dumps(value) for key, value in config.items()})
    (COPY / "mutants.toml").write_text(text)
    (COPY / "mutants.sqlite").unlink(missing_ok=True)
    for step in (
        ["cosmic-ray", "init", "mutants.toml", "mutants.sqlite"],
        ["cr-filter-operators", "mutants.sqlite", "mutants.toml"],
        ["cosmic-ray", "exec", "mutants.toml", "mutants.sqlite"],
    ):
        run([str(Path(sys.executable).with_name(step[0])), *step[1:]]).check_returncode()
    dump = run([str(Path(sys.executable).with_name("cosmic-ray")), "dump", "mutants.sqlite"])
    outcome = outcome_of(json.loads(line) for line in dump.stdout.splitlines())
    print(f"{file}: {outcome.score} in {monotonic() - began:.0f} s by {' '.join(tests)}", flush=True)
    print("\n".join(outcome.survived), flush=True)
    return outcome


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """In the copy, with its sources."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(COPY, root).absolute()) for root in ("proxy", "backends")),
    }
    return subprocess.run(command, cwd=COPY, env=env, capture_output=True, text=True, check=False)


def outcome_of(lines: Iterable[Any]) -> Outcome:
    """Of cosmic-ray's dump: a work item and its result in each line."""
    killed, survived = 0, []
    for item, result in lines:
        if result is None or result["worker_outcome"] == "skipped":
            continue
        if result["test_outcome"] == "survived":
            line, _ = item["mutations"][0]["start_pos"]
            survived.append((line, f"  {line}: {change_of(result['diff'])}"))
        else:
            killed += 1
    return Outcome(killed, [text for _, text in sorted(survived)])


def change_of(diff: str) -> str:
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before, after = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{before}\n      → {after}"


if __name__ == "__main__":
    sys.exit(main())
