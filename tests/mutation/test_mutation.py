"""What is made of cosmic-ray's dump, and which tests are a file's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.mutation.__main__ import Outcome, change_of, outcome_of, suite_of

DIFF = """\
--- mutation diff ---
--- aproxy/crossfade/rollout/move.py
+++ bproxy/crossfade/rollout/move.py
@@ -1,3 +1,3 @@
 def f(held):
-    return held < 3
+    return held <= 3
"""


def line(number: int, outcome: str | None, worker: str = "normal") -> list[Any]:
    """A line of the dump; without an outcome, of work that was not done."""
    result = (
        {"worker_outcome": worker, "test_outcome": outcome, "diff": DIFF}
        if outcome or worker == "skipped"
        else None
    )
    return [{"mutations": [{"start_pos": [number, 4]}]}, result]


def test_what_survived_is_told_in_the_order_of_the_file() -> None:
    dump = [line(9, "survived"), line(2, "survived"), line(3, "killed"), line(4, "incompetent")]
    dump += [line(5, None, "skipped"), line(6, None)]
    change = "return held < 3\n      → return held <= 3"
    found = outcome_of(dump)
    assert found == Outcome(2, [f"  2: {change}", f"  9: {change}"])
    assert found.score == "2 of 4 killed (50%)"
    assert Outcome(0, []).score == "0 of 0 killed (0%)"


def test_a_line_that_is_taken_out_has_nothing_in_its_place() -> None:
    assert change_of("--- a\n+++ b\n-    @property\n") == "@property\n      → "


def test_a_file_s_own_tests_come_first_and_then_those_beside_it_that_import_it() -> None:
    own, *others = suite_of(Path("proxy/crossfade/rollout/machine.py"))
    assert own == "tests/rollout/test_machine.py"
    assert "tests/rollout/test_move.py" in others and "tests/rollout/test_verdict.py" not in others
    assert suite_of(Path("proxy/crossfade/errors.py")) == ["tests/test_errors.py"]
    assert suite_of(Path("proxy/crossfade/http1/nothing.py")) == []
