"""A model that is no version yet: trained from rows, and held against a version on the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.candidate import WORSE, main, worse
from crossfade_backends.data import draw_sample, split_sample
from crossfade_backends.recipes import RECIPES
from crossfade_backends.registry import Metrics
from tests.backends.test_models import as_csv

IN_CENTS = RECIPES[-1].prepare
SHARES = st.floats(0, 1)


def metrics(auc: float, log_loss: float) -> Metrics:
    return Metrics(auc=auc, log_loss=log_loss, brier=0.2, accuracy=0.7, n=100)


@pytest.mark.parametrize(
    ("auc", "log_loss", "allowed", "words"),
    [
        (0.75, 0.5, (0, 0), []),
        (0.74, 0.5, (0, 0), ["auc"]),
        (0.75, 0.51, (0, 0), ["log_loss"]),
        (0.74, 0.51, (0, 0), ["auc", "log_loss"]),
        (0.74, 0.51, (0.02, 0.02), []),
        (0.70, 0.51, (0.02, 0.02), ["auc"]),
        (0.90, 0.10, (0, 0), []),
    ],
)
def test_what_is_worse_is_named(
    auc: float, log_loss: float, allowed: tuple[float, float], words: list[str]
) -> None:
    found = worse(metrics(auc, log_loss), metrics(0.75, 0.5), *allowed)
    assert [one.split()[0] for one in found] == words


@given(SHARES, SHARES, SHARES, SHARES)
def test_nothing_is_worse_than_itself_and_of_two_that_differ_one_is(
    auc: float, loss: float, other_auc: float, other_loss: float
) -> None:
    one, other = metrics(auc, loss), metrics(other_auc, other_loss)
    assert list(worse(one, one)) == []
    if one != other:
        assert [*worse(one, other), *worse(other, one)]


def test_a_candidate_is_held_against_a_version_on_the_same_rows(
    registry: Path, tmp_path: Path, capsys
) -> None:
    train, held_out = split_sample(draw_sample(3000, 5))
    file = str(tmp_path / "model.skops")
    rows = as_csv(tmp_path / "held_out.csv", held_out)
    evaluate = [
        "evaluate",
        file,
        "--registry",
        str(registry),
        "--against",
        "churn@v2",
        "--held-out",
        str(rows),
    ]
    assert main(["train", str(as_csv(tmp_path / "train.csv", train)), file]) == 0
    assert capsys.readouterr().out == f"{file}: trained on 2250 rows\n"
    assert main(evaluate) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "model",
        "candidate",
        "churn@v2",
    ]
    assert main(["train", str(as_csv(tmp_path / "train.csv", IN_CENTS(train))), file]) == 0
    assert main(evaluate) == WORSE
    assert capsys.readouterr().err.startswith("worse than the champion: auc 0.")
    assert main([*evaluate, "--auc", "1", "--log-loss", "9"]) == 0


def test_errors_name_the_file_or_what_there_is(registry: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    model = str(tmp_path / "model.skops")
    assert main(["train", str(tmp_path / "rows.csv"), model]) == 1
    assert "rows.csv: line 1: has no column " in capsys.readouterr().err
    rest = ["--registry", str(registry), "--held-out", "rows.csv"]
    assert main(["evaluate", model, *rest]) == 1
    assert "nothing is 'production': a version, a stage or latest" in capsys.readouterr().err
    assert main(["evaluate", model, *rest, "--against", "churn@v2"]) == 1
    assert "model.skops: does not exist" in capsys.readouterr().err
    for wrong in ("-1", "nan", "much"):
        with pytest.raises(SystemExit):
            main(["evaluate", model, *rest, "--auc", wrong])
