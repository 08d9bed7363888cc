"""Drift under the controller: profiles are read, learned, kept and told; windows close; alarms reach whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil

import pytest

from crossfade.control import drift_files
from crossfade.control.drift import DriftAlarm
from crossfade.control.drift_view import drift_numbers
from crossfade.control.refusal import Refused, UnknownName
from crossfade.quality.profile import BadProfile, write_profile
from crossfade.quality.profiling import profile_of
from crossfade.quality.sketch import Sketch
from crossfade.quality.watching import Sketched
from tests.control.harness import HEADING, NOW, loaded
from tests.control.profiled import LIVE, PROFILE, WINDOW, Proxy, slots, with_file


@pytest.fixture
async def proxy(tmp_path):
    made = Proxy(tmp_path)
    yield made
    await made.close()


async def test_the_first_requests_become_the_profile(proxy):
    await proxy.open(LIVE)
    wanted = proxy.seam.drift.wanted["churn"]
    assert (wanted.profile, wanted.learn, proxy.view.state) == (None, 1000, "learning")
    proxy.learn(PROFILE, attempt=wanted.attempt - 1)
    proxy.tick(NOW + 1)
    await proxy.drift.idle()
    assert proxy.view.state == "learning"
    proxy.learn(PROFILE)
    proxy.tick(NOW + 2)
    await proxy.drift.idle()
    proxy.tick(NOW + 3)
    wanted = proxy.seam.drift.wanted["churn"]
    assert (wanted.learn, wanted.attempt, proxy.view.state) == (0, 0, "watching")
    assert wanted.profile is not None and wanted.profile.fields == PROFILE.fields
    assert wanted.profile.sample == ()


async def test_a_learned_profile_and_the_windows_survive_a_restart(proxy):
    await proxy.open(LIVE)
    proxy.learn(PROFILE)
    proxy.tick(NOW + 2)
    await proxy.drift.idle()
    proxy.tick(NOW + 3)
    for slot in slots(3):
        proxy.see(slot)
    before = proxy.drift.route("churn").monitor
    await proxy.close()
    await proxy.open(LIVE)
    assert proxy.view.state == "watching"
    assert proxy.drift.route("churn").monitor == before
    assert before.windows == 2
    assert proxy.drift.route("churn").backend == "v2"


async def test_drift_is_one_alarm_for_whoever_asks(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path))
    with proxy.controller.feed.subscribe() as events:
        for slot in slots(6):
            proxy.see(slot, age=48)
        assert [(found.route, found.alarm.subject) for found in proxy.alarms] == [("churn", "age")]
        told = [event for event in events.waiting if getattr(event, "what", "") == "drift"]
        assert [event.route for event in told] == ["churn"]
        assert "data_drift: age: " in told[0].detail
    assert proxy.controller.views.route("churn").drift == ["field age"]
    (numbers,) = drift_numbers(proxy.drift.routes)
    assert numbers.alarms == {"data_drift": 1, "score_drift": 0, "concept_drift": 0}
    assert numbers.active == ["field age"]
    assert numbers.distances["age"] > 0.2 > numbers.distances["plan"]
    assert "score of v2" in numbers.distances
    ages, plans = proxy.view.fields
    assert (ages.name, ages.listed, plans.listed) == ("age", True, False)
    assert ages.alarm_at == proxy.alarms[0].alarm.at
    assert plans.alarm_at is None


RETRAIN = "    retrain: {on: [data_drift], webhook: 'http://127.0.0.1:9/train', cooldown: 1s}\n"


async def test_drift_orders_a_training_and_reminds_of_it_while_it_lasts(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path) + RETRAIN)
    reminded: list[DriftAlarm] = []
    proxy.drift.on_lasting.append(reminded.append)
    for slot in slots(4):
        proxy.see(slot, age=48)
    await proxy.controller.idle()
    (order,) = proxy.controller.retrain.held.values()
    assert "data_drift" in str(order)
    assert proxy.alarms == [DriftAlarm("churn", proxy.drift.route("churn").monitor.alarms[0])]
    proxy.drift.reminded_at = -1000.0
    proxy.tick(NOW + 6 * WINDOW)
    assert reminded[-1:] == proxy.alarms


async def test_a_window_closes_by_time_where_no_more_requests_come(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path))
    (slot,) = slots(1)
    proxy.see(slot)
    proxy.tick((slot + 1) * WINDOW + 5)
    assert (proxy.view.windows, proxy.view.rows_now) == (0, 1000)
    proxy.tick((slot + 1) * WINDOW + 11)
    assert (proxy.view.windows, proxy.view.rows, proxy.view.rows_now) == (1, 1000, 0)
    assert proxy.view.window_end == (slot + 1) * WINDOW
    proxy.see(slot + 1, n=500)
    assert (proxy.view.windows, proxy.view.rows, proxy.view.rows_now) == (1, 1000, 500)


async def test_what_was_seen_beside_another_profile_does_not_count(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path))
    proxy.seam.drift.seen.sketched.append(Sketched("churn", "other", 5, Sketch(rows=5)))
    proxy.seam.drift.seen.sketched.append(Sketched("gone", "other", 5, Sketch(rows=5)))
    proxy.tick(NOW + 1)
    assert proxy.view.rows_now == 0


async def test_a_file_that_is_no_profile_is_said(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text("{}")
    await proxy.open(with_file(path))
    assert proxy.view.state == "no_profile"
    assert proxy.view.trouble == f"{path}: format: must be 1, not None"
    path.write_bytes(write_profile(PROFILE))
    await proxy.controller.load(loaded(with_file(path)), "test", NOW + 1)
    await proxy.drift.idle()
    assert (proxy.view.state, proxy.view.trouble) == ("watching", "")


async def test_a_file_that_is_not_there_is_said(proxy, tmp_path):
    await proxy.open(with_file(tmp_path / "none.json"))
    assert proxy.view.trouble == f"{tmp_path}/none.json: cannot be read: No such file or directory"


@pytest.mark.parametrize("change", [", window: 1d", ", tolerance: 10%"])
async def test_windows_of_another_kind_begin_anew(proxy, tmp_path, change):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path))
    for slot in slots(2):
        proxy.see(slot)
    assert proxy.view.windows == 1
    await proxy.controller.load(loaded(with_file(path, change)), "test", NOW + 1)
    await proxy.drift.idle()
    assert (proxy.view.windows, proxy.view.rows_now) == (0, 0)
    length = int(proxy.view.window)
    proxy.tick(NOW + 2)
    watched = proxy.seam.drift.wanted["churn"]
    assert watched.stamp != "" and watched.keys == ("customer_id",)
    for slot in (int(NOW // length) + 1, int(NOW // length) + 2):
        sketch = Sketch()
        sketch.add_row(PROFILE, {"age": 40, "plan": "a"})
        proxy.seam.drift.seen.sketched.append(Sketched("churn", watched.stamp, slot, sketch))
        proxy.tick((slot + 0.5) * length)
    assert proxy.view.windows == 1


async def test_fields_may_be_chosen_and_must_be_there(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path, ", fields: [age, size]"))
    assert proxy.view.trouble == "the profile has no field size"
    assert [field.name for field in proxy.view.fields] == ["age"]
    assert proxy.drift.route("churn").whole == PROFILE


async def test_each_backend_may_have_its_own_profile(proxy, tmp_path):
    own = profile_of([{"age": 50}] * 200, [0.9] * 200, "v3")
    for name, profile in (("v2", PROFILE), ("v3", own)):
        (tmp_path / f"{name}.json").write_bytes(write_profile(profile))
    files = f"{{v2: {tmp_path}/v2.json, v3: {tmp_path}/v3.json}}"
    yaml = HEADING + f"    prediction: {{score: p}}\n    drift: {{baseline: {files}}}\n"
    await proxy.open(yaml)
    wanted = proxy.seam.drift.wanted["churn"]
    assert wanted.profile is not None and wanted.profile.fields == PROFILE.fields
    assert wanted.score_field("v3") == own.score
    stamp = wanted.stamp
    await proxy.controller.set_split("churn", {"v2": 0, "v3": 100}, "test", NOW + 5)
    proxy.tick(NOW + 6)
    wanted = proxy.seam.drift.wanted["churn"]
    assert wanted.profile is not None and wanted.profile.fields == own.fields
    assert wanted.stamp != stamp


async def test_an_operator_gives_a_profile_and_learns_another(proxy):
    await proxy.open(LIVE)
    await proxy.drift.put("churn", PROFILE)
    proxy.tick(NOW + 1)
    assert proxy.view.state == "watching"
    assert proxy.seam.drift.wanted["churn"].learn == 0
    proxy.drift.learn("churn")
    proxy.tick(NOW + 2)
    wanted = proxy.seam.drift.wanted["churn"]
    assert wanted.learn == 1000
    assert wanted.profile is not None  # until there is another
    other = profile_of([{"age": 1}] * 200)
    proxy.learn(other)
    proxy.tick(NOW + 3)
    await proxy.drift.idle()
    assert proxy.drift.route("churn").whole == other


async def test_what_is_refused(proxy, tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    await proxy.open(with_file(path))
    with pytest.raises(Refused, match="the configuration names the profile"):
        await proxy.drift.put("churn", PROFILE)
    with pytest.raises(Refused):
        proxy.drift.learn("churn")
    with pytest.raises(UnknownName, match="no route is called"):
        proxy.drift.route("gone")
    await proxy.controller.load(loaded(HEADING), "test", NOW + 1)
    with pytest.raises(UnknownName, match="no drift in the configuration"):
        proxy.drift.route("churn")


async def test_a_disk_that_takes_nothing_is_said_and_watching_goes_on(proxy, tmp_path):
    await proxy.open(LIVE)
    folder = drift_files.drift_folder(str(proxy.path))
    assert folder is not None
    while not folder.is_file():  # a save under way makes it anew
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(IsADirectoryError):
            folder.write_text("in the way")
    with pytest.raises(Refused, match="the profile cannot be kept"):
        await proxy.drift.put("churn", PROFILE)
    proxy.drift.save()
    await proxy.drift.idle()
    assert proxy.drift.disk_error
    folder.unlink()
    await proxy.drift.put("churn", PROFILE)
    proxy.drift.save()
    await proxy.drift.idle()
    assert proxy.drift.disk_error == ""
    kept = await asyncio.to_thread(drift_files.kept_monitor, folder, "churn")
    assert kept is not None and kept.monitor == proxy.drift.route("churn").monitor


def test_a_file_of_another_format_is_left_alone(tmp_path):
    drift_files.write_whole(tmp_path / "churn.json", json.dumps({"monitor": {}, "format": 99}).encode())
    assert drift_files.kept_monitor(tmp_path, "churn") is None
    assert drift_files.kept_monitor(tmp_path, "other") is None


def test_kept_profiles_are_private_and_whole(tmp_path):
    stamp = drift_files.keep_profile(tmp_path / "a", "eu/churn", PROFILE, "v2")
    assert drift_files.kept_profile(tmp_path / "a", "eu/churn") == (PROFILE, stamp, "v2")
    (file,) = (tmp_path / "a").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("{")
    with pytest.raises(BadProfile, match="churn"):
        drift_files.kept_profile(tmp_path / "a", "eu/churn")
