"""Sketches of samples: a customer counts once, versions and scores stand apart, and a profile is learned."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from crossfade.observer import drift as module
from crossfade.observer.drift import DriftWatch
from crossfade.observer.messages import Observed, Watch
from crossfade.observer.observing import Observer
from crossfade.observer.process import take
from crossfade.quality.answer import RawAnswer
from crossfade.quality.prediction import Prediction
from crossfade.quality.profiling import profile_of
from crossfade.quality.samples import AnswerSample, Asked, CopySample, PairSample, encode
from crossfade.quality.watching import Seen, Watched

PROFILE = profile_of([{"age": i % 10} for i in range(100)], [i / 100 for i in range(100)])
WATCHED = Watched(60.0, PROFILE, "stamp")
ids = iter(range(10**9))


def sampled(
    body: Any = None,
    key: int | None = None,
    at: float = 30.0,
    score: float = 0.5,
    version: int = 1,
    **more: Any,
) -> AnswerSample:
    """`more`: role, backend, own, answer."""
    asked = Asked(b"%d" % next(ids), at, b"/predict", key, b"", json.dumps(body or {"age": 3}).encode())
    cell = ("churn", more.get("backend", "v2"), more.get("role", "champion"), version, 0)
    answer = RawAnswer(200, b"", json.dumps({"p": score}).encode())
    return AnswerSample(cell, asked, "v2", more.get("own", True), more.get("answer", answer))


def seen(*samples: Any, watched: Watched = WATCHED) -> Seen:
    return observed(Observer(), *samples, watched=watched).seen


def observed(observer: Observer, *samples: Any, watched: Watched | None = WATCHED) -> Observed:
    observer.use({"churn": Prediction(("p",))})
    if watched is not None:
        observer.answers.drift.use({"churn": watched})
    return observer.observe(encode(list(samples)), len(samples))


def test_inputs_and_scores_are_counted_beside_the_profile():
    (found,) = seen(sampled({"age": 3}), sampled({"age": "x"}, score=0.9)).sketched
    assert (found.route, found.stamp, found.slot) == ("churn", "stamp", 0)
    assert found.window.rows == 2
    assert (found.window.fields["age"].n, found.window.fields["age"].other) == (1, 1)
    assert found.window.scores["v2"].high == 0.9
    assert found.versions == {}


def test_a_customer_counts_once_in_a_window():
    samples = [sampled(key=7), sampled(key=7), sampled(key=8), sampled(key=7, at=61.0), sampled()]
    first, second = seen(*samples).sketched
    assert (first.slot, first.window.rows, first.window.scores["v2"].n) == (0, 3, 3)
    assert (second.slot, second.window.rows) == (1, 1)


def test_a_customer_counts_once_in_a_window_over_several_reports():
    observer = Observer()
    observed(observer, sampled(key=7))
    found = observed(observer, sampled(key=7), sampled(key=9), watched=None)
    assert found.seen.sketched[0].window.rows == 1


def test_where_a_rollout_asks_a_customer_counts_once_in_each_version_too():
    watched = replace(WATCHED, by_version=True)
    samples = [sampled(key=7), sampled(key=7, at=61.0), sampled(key=7, at=62.0, version=2, backend="v3")]
    first, second = seen(*samples, watched=watched).sketched
    assert {version: each.rows for version, each in first.versions.items()} == {1: 1}
    assert {version: each.rows for version, each in second.versions.items()} == {2: 1}
    assert second.window.rows == 1
    assert [*second.versions[2].scores] == ["v3"]


def test_keys_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "KEYS", 3)
    (found,) = seen(*(sampled(key=key) for key in range(10))).sketched
    assert found.window.rows <= 3


def test_inputs_of_unanswered_requests_count_and_scores_of_others_do_not():
    (found,) = seen(sampled(answer=None), sampled(own=False)).sketched
    assert found.window.rows == 2
    assert found.window.scores == {}


def test_testers_are_no_customers():
    assert seen(sampled(role="tester")).sketched == []


def test_answers_to_copies_are_the_challengers_scores():
    asked = Asked(b"1", 30.0, b"/predict", None)
    raw = RawAnswer(200, b"", b'{"p": 0.75}')
    copied = CopySample(("churn", "v3", "shadow", 4, 0), "v2", 0.0, raw)
    (found,) = seen(PairSample(asked, raw, copied), watched=replace(WATCHED, by_version=True)).sketched
    assert found.versions[4].scores["v3"].high == 0.75


def test_only_the_fields_that_are_asked_for_are_looked_at():
    (found,) = seen(sampled({"age": 1, "name": "x"}), watched=replace(WATCHED, fields=("age",))).sketched
    assert found.window.new == {}
    assert seen(sampled({"age": 1, "name": "x"})).sketched[0].window.new == {"name": 1}


def test_of_a_batch_one_row_counts():
    (found,) = seen(sampled({"instances": [{"age": 1}, {"age": 2}]})).sketched
    assert found.window.rows == 1


def test_a_body_that_is_no_json_counts_nothing():
    asked = Asked(b"1", 30.0, b"/predict", None, b"", b"{")
    sample = AnswerSample(("churn", "v2", "champion", 1, 0), asked, "v2", True, None)
    assert seen(sample).sketched == []


def test_a_profile_is_learned_once_in_each_attempt():
    watched, observer = Watched(60.0, learn=100, attempt=3, keys=("id",)), Observer()
    samples = [sampled({"id": i, "age": i, "long": "x" * 500}, key=i, score=i / 200) for i in range(99)]
    assert observed(observer, *samples, *samples, watched=watched).seen.learned == []
    (found,) = observed(observer, sampled({"age": 4, "odd": [1]}), watched=None).seen.learned
    assert (found.route, found.attempt, found.backend, found.profile.rows) == ("churn", 3, "v2", 100)
    assert set(found.profile.fields) == {"age", "long", "odd"}
    assert found.profile.score is not None and found.profile.score.n == 100
    assert len(found.profile.sample) == 100
    assert max(len(str(value)) for row in found.profile.sample for value in row) <= 100
    assert observed(observer, *samples, sampled(), watched=watched).seen.learned == []
    again = observed(observer, *samples, sampled(), watched=replace(watched, attempt=4))
    assert len(again.seen.learned) == 1


def test_another_profile_begins_anew():
    observer = Observer()
    observed(observer, sampled(key=7))
    (found,) = observed(observer, sampled(key=7), watched=replace(WATCHED, stamp="other")).seen.sketched
    assert (found.stamp, found.window.rows) == ("other", 1)


def test_a_route_that_nobody_watches_has_no_sketches():
    watch = DriftWatch()
    watch.use({"churn": WATCHED})
    watch.use({})
    watch.add_input(sampled())
    assert watch.take() == Seen()


def test_the_process_is_told_what_to_watch(tmp_path):
    import msgspec

    observer = Observer()
    with (tmp_path / "answers").open("wb") as answers:
        take(observer, msgspec.msgpack.encode(Watch({"churn": WATCHED})), answers)
    assert observer.answers.drift.routes["churn"].watched == WATCHED


def test_the_rows_of_a_window_are_one_batch_of_the_test_of_all_fields(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 10)
    made = profile_of([{"age": i % 10} for i in range(100)], sampled=[{"age": i % 10} for i in range(100)])
    watched, observer = Watched(60.0, made, "stamp", together=True), Observer()
    first = [sampled({"age": 90}, key=i) for i in range(30)] * 2
    assert observed(observer, *first, watched=watched).seen.together == []
    (batch,) = observed(
        observer, *(sampled({"age": 90}, at=61.0) for _ in range(40)), watched=None
    ).seen.together
    assert (batch.route, batch.stamp, batch.n, batch.log_e, batch.batches) == ("churn", "stamp", 30, 0.0, 1)
    (second,) = observed(observer, sampled(at=121.0), watched=None).seen.together
    assert second.log_e > 5
    assert (second.n, second.epoch) == (40, batch.epoch)
    more = [sampled(at=130.0) for _ in range(20)]
    (third,) = observed(observer, *more, sampled(at=181.0), watched=None).seen.together
    assert third.epoch == second.epoch + 1
    assert third.log_e == 0.0


def test_a_window_of_few_rows_is_no_batch():
    made = profile_of([{"age": i % 10} for i in range(200)], sampled=[{"age": i % 10} for i in range(200)])
    watched = Watched(60.0, made, "stamp", together=True)
    samples = [sampled() for _ in range(20)] + [sampled(at=61.0)]
    assert seen(*samples, watched=watched).together == []
