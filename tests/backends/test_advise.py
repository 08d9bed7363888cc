"""The advice: batch, stream or real time."""

from __future__ import annotations

import pytest

from crossfade_backends.advise import QUESTIONS, WAYS, advised, asked, given, judge, main, report


@pytest.mark.parametrize(
    ("answers", "way"),
    [
        ("latency=200,age=60,rows=100000,used=10", "real time"),
        ("latency=5,age=1,rows=1000,used=50", "real time"),
        ("latency=0,age=86400,rows=5000000,used=90", "batch"),
        ("latency=0,age=86400,rows=1000,used=1", "batch"),
        ("latency=0,age=5,rows=20000000,used=100", "stream"),
    ],
)
def test_the_advice_follows_from_latency_age_volume_and_use(answers, way):
    assert advised(judge(given(answers))) == way
    assert report(given(answers)).startswith(f"# Advice: {way}\n")


def test_each_way_is_judged_by_each_answer_with_a_reason():
    judgements = judge(given(""))
    assert {(j.question, j.way) for j in judgements} == {(q.name, w) for q in QUESTIONS[:-1] for w in WAYS}
    assert all(j.reason for j in judgements)


def test_the_cost_grows_with_the_rows_and_with_the_price(capsys):
    assert main(["--answers", "rows=1000000000,cost=1"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| cost")]
    assert line == "| cost of an hour | 8.1019 | 1.0000 | 0.3472 |"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ("speed=3", "'speed' is no question: there are latency, age, rows, used, cost"),
        ("latency=fast", "latency must be a number, not 'fast'"),
        ("used=101", "used cannot be 101"),
        ("rows=-1", "rows cannot be -1"),
        ("rows=nan", "rows cannot be nan"),
    ],
)
def test_an_answer_that_cannot_be_is_said(capsys, answers, error):
    assert main(["--answers", answers]) == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_wrong_answer_is_asked_again_and_an_empty_one_is_the_default():
    typed = iter(["soon", "0", "", "7", "", ""])
    said: list[str] = []
    answers = asked(lambda text: next(typed), said.append)
    assert said == ["latency must be a number, not 'soon'"]
    assert answers == {"latency": 0, "age": 60, "rows": 7, "used": 10, "cost": 0.04}


def test_the_report_goes_to_a_file(tmp_path):
    assert main(["--answers", "", "-o", str(tmp_path / "advice.md")]) == 0
    assert (tmp_path / "advice.md").read_text() == report(given(""))
