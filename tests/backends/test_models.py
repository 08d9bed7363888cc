"""The words of the registry: list, show, register, stage."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from crossfade_backends.data import FEATURES, draw_sample, fingerprint, split_sample
from crossfade_backends.edge import main as edge
from crossfade_backends.models import main
from crossfade_backends.onnx_model import ONNX_FILE
from crossfade_backends.registering import Registration, register, rows_of
from crossfade_backends.registry import MODEL_FILE, RegistryError, is_onnx, read_metadata, versions_of
from crossfade_backends.scoring import load_served_model
from crossfade_backends.stages import move

ROWS = 400


@pytest.fixture
def root(tmp_path: Path, registry: Path) -> Path:
    shutil.copytree(registry, tmp_path / "models")
    return tmp_path / "models"


def as_csv(path: Path, sample, label: str = "churned") -> Path:
    lines = [",".join((*FEATURES, label))]
    for features, churned in zip(sample.features.tolist(), sample.churned.tolist(), strict=True):
        lines.append(",".join(map(repr, [*features, churned])))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    train, held_out = split_sample(draw_sample(ROWS, 3))
    return as_csv(tmp_path / "train.csv", train), as_csv(tmp_path / "held_out.csv", held_out)


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_list_and_show_say_what_the_registry_knows(root: Path, capsys):
    code, out, _ = run(capsys, "list", "--registry", str(root))
    assert code == 0
    assert sorted(line.split()[1] for line in out.splitlines()[1:]) == ["v2", "v3", "v4"]
    (root / ".orders").mkdir()
    (root / ".orders" / "x").mkdir()
    (root / ".orders" / "x" / "metadata.json").write_text("no version")
    found = json.loads(run(capsys, "list", "churn", "--json", "--registry", str(root))[1])
    assert {each["version"]: each["stage"] for each in found} == dict.fromkeys(("v2", "v3", "v4"), "none")
    assert len(json.loads(run(capsys, "list", "--json", "--registry", str(root))[1])) == 3
    shown = json.loads(run(capsys, "show", "churn@v3", "--json", "--registry", str(root))[1])
    assert shown["signature"]["inputs"] == dict.fromkeys(FEATURES, "FP64")
    assert shown["signature"]["outputs"] == {"churn_probability": "FP64"}
    text = run(capsys, "show", "churn@v3", "--registry", str(root))[1]
    assert f"training_data_sha256         {shown['training_data_sha256']}" in text
    assert "metrics.auc" in text and "nb_transactions_30d FP64" in text
    assert run(capsys, "show", "churn@v9", "--registry", str(root))[0] == 1
    assert "no such model" in run(capsys, "list", "fraud", "--registry", str(root))[2]


def test_stages_are_kept_with_who_and_when(root: Path, capsys):
    for stage in ("staging", "production"):
        assert run(capsys, "stage", "churn@v2", stage, "--registry", str(root))[0] == 0
    move(root, "churn", "v3", "staging", "ann")
    move(root, "churn", "v3", "production", "ann")
    move(root, "churn", "v3", "production", "bob")  # it is there already
    history = read_metadata(root, "churn", "v2").history
    assert [change.stage for change in history] == ["staging", "production", "archived"]
    assert history[-1].by == "ann"
    assert [change.stage for change in read_metadata(root, "churn", "v3").history] == [
        "staging",
        "production",
    ]
    assert [change.at for change in history] == sorted(change.at for change in history)
    assert "  archived  ann" in run(capsys, "show", "churn@v2", "--registry", str(root))[1]
    code, _, error = run(capsys, "stage", "churn@v4", "production", "--registry", str(root))
    assert (code, "is in the stage none" in error) == (1, True)


def test_a_registered_file_is_evaluated_and_can_be_served(root: Path, data, capsys):
    train, held_out = data
    file = root / "churn" / "v3" / MODEL_FILE
    words = ("--training-data", str(train), "--held-out", str(held_out), "--registry", str(root))
    more = ("--author", "ann", "--description", "more trees", "--tag", "team=growth")
    code, out, error = run(capsys, "register", str(file), "churn@v7", *words, *more)
    assert (code, out.startswith("registered churn@v7: auc 0."), error) == (0, True, "")
    metadata = read_metadata(root, "churn", "v7")
    assert (metadata.author, metadata.description, metadata.tags) == ("ann", "more trees", {"team": "growth"})
    assert metadata.metrics.n == ROWS // 4
    assert metadata.parameters["estimator"] == "GradientBoostingClassifier"
    assert metadata.training_data_sha256 == fingerprint(split_sample(draw_sample(ROWS, 3))[0])
    rows = draw_sample(5, 1).features
    assert (
        load_served_model(root, "churn", "v7").score(rows)
        == load_served_model(root, "churn", "v3").score(rows)
    ).all()
    code, _, error = run(capsys, "register", str(file), "churn@v7", *words)
    assert (code, "is registered already" in error) == (1, True)


def test_an_onnx_file_is_registered_too(root: Path, data, capsys):
    assert edge(["export", "churn@v2", "--registry", str(root)]) == 0
    made = next(each for each in versions_of(root, "churn") if is_onnx(each))
    file = root / "churn" / made.version / ONNX_FILE
    metadata = register(root, Registration("churn", "v8", file, *data))
    assert (metadata.framework, metadata.model_sha256) == (made.framework, made.model_sha256)
    rows = draw_sample(5, 1).features
    one, other = (load_served_model(root, "churn", version) for version in (made.version, "v8"))
    assert (one.score(rows) == other.score(rows)).all()
    broken = file.parent.parent / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(RegistryError, match="onnxruntime cannot run it"):
        register(root, Registration("churn", "v9", broken, *data))


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/a-pickle-was-loaded"),)


@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "model.joblib"])
def test_a_pickle_is_refused_unread_whatever_it_is_called(root: Path, data, tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RegistryError, match=rf"{name}: is not in a safe format"):
        register(root, Registration("churn", "v8", file, *data))
    assert not Path("/tmp/a-pickle-was-loaded").exists()
    assert not (root / "churn" / "v8").exists()


def test_a_model_that_does_not_score_these_rows_is_refused(root: Path, data, tmp_path: Path):
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeClassifier
    from skops import io as skops_io

    train = rows_of(data[0])
    wrong = {
        "does not score 5 features": DecisionTreeClassifier(max_depth=1).fit(
            train.features[:, :3], train.churned
        ),
        "has no attribute 'predict_proba'": LinearRegression().fit(train.features, train.churned),
        "probabilities of two classes": DecisionTreeClassifier(max_depth=1).fit(
            train.features, train.features[:, 0].astype(int) % 3
        ),
    }
    for problem, model in wrong.items():
        file = tmp_path / "model.skops"
        skops_io.dump(model, file)
        with pytest.raises(RegistryError, match=problem):
            register(root, Registration("churn", "v8", file, *data))
    assert not (root / "churn" / "v8").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("churned", "label"), "line 1: has no column churned"),
        (
            lambda text: text.replace("\n", "\nx,", 1),
            "line 2, column nb_transactions_30d: 'x' is not a number",
        ),
        (
            lambda text: text.splitlines()[0] + "\n1,2,3,4\n",
            "line 2, column subscription_age_days: None is not a number",
        ),
        (lambda text: text.splitlines()[0] + "\n1,2,3,4,5,1\n", "must have both 0 and 1"),
        (lambda text: text.splitlines()[0] + "\n", "must have both 0 and 1"),
        (lambda text: text.replace("\n", '\n"', 1) + "1" * 140_000, "behind line 1: .*is a quote not closed"),
    ],
)
def test_rows_that_cannot_be_used_are_named(data, change, problem: str):
    data[0].write_text(change(data[0].read_text()))
    with pytest.raises(RegistryError, match=problem):
        rows_of(data[0])


def test_rows_of_a_spreadsheet_have_a_mark_before_them(data):
    plain = rows_of(data[0])
    data[0].write_text(data[0].read_text(), encoding="utf-8-sig")
    assert fingerprint(rows_of(data[0])) == fingerprint(plain)


def test_a_wrong_command_line_is_exit_code_2(root: Path):
    for words in (["stage", "churn@v2", "gone"], ["register", "x", "churn@v9", "--tag", "=a"], []):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
