"""The page: its verdict, what it draws, what it says is not known, and that hostile answers stay text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import msgspec
import pytest
from msgspec.structs import replace

from crossfade.quality.compared import Compared
from crossfade.quality.comparison_summary import Subject
from crossfade.quality.summary import summary
from crossfade.quality.table import ComparisonTable
from crossfade.report.inputs import Decision, Recommendation, Report
from crossfade.report.judgement import Judgement, judged
from crossfade.report.page import page
from crossfade.report.unknown import unknowns
from crossfade.report.words import number, percent
from tests.quality.worlds import BEGUN, World, table_of
from tests.report import samples

NO_LIMIT = Subject("churn", "v2", "v4", BEGUN, BEGUN + 5000, ("plan", "header x-country"), 0.5)
PASSED = samples.VERDICTS[:1]


def html(report: Report) -> str:
    return page(report, lambda at: f"t{at:.0f}")


def tree(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.removeprefix("<!doctype html>"))


def plots(text: str) -> set[str]:
    return set(re.findall(r'<svg [^>]*id="([\w-]+)"', text))


def words(text: str) -> str:
    return " ".join("".join(tree(text).itertext()).split())


@pytest.mark.parametrize("make", [samples.shadow, samples.canary, samples.nothing, samples.everything])
def test_a_page_is_well_formed_and_refers_to_nothing(make):
    text = html(make())
    tree(text)
    assert not re.search(r"https?:|<script|<link|<img|\ssrc=|\shref=|@import|url\(|\sstyle=|\son\w+=", text)


def test_each_plot_has_a_title_a_description_and_numbers_beside_it():
    root = tree(html(samples.shadow()))
    drawn = [svg for svg in root.iter("svg") if svg.get("role") == "img"]
    assert len(drawn) >= 7
    for svg in drawn:
        named = {
            child.get("id"): "".join(child.itertext()) for child in svg if child.tag in ("title", "desc")
        }
        assert set((svg.get("aria-labelledby") or "").split()) == set(named)
        assert all(named.values())
    for each in root.iter("figure"):
        if each.find("svg") is not None:
            assert each.find(".//table") is not None


def test_a_shadow_shows_all_plots_of_pairs():
    wanted = {
        "over-time",
        "segments",
        "score-histograms",
        "score-pairs",
        "score-quantiles",
        "latency",
        "evidence",
    }
    assert wanted <= plots(html(samples.shadow()))


def test_a_rollout_without_mirrors_has_a_report_too():
    text = html(samples.canary())
    assert plots(text) == {"evidence", "evidence-path"}
    assert "v4 fails disagreement max 5%" in words(text)
    assert "all checks pass" in words(text)


def test_a_recommendation_is_shown_with_its_numbers():
    report = samples.canary()
    assert report.rollout is not None
    assert "Recommendation" not in words(html(report))
    said = Recommendation("PROMOTE", "kpi bought", 0.05, "v4 is better", 0.123, (0.08, None), 0.0004, None)
    report = replace(report, rollout=replace(report.rollout, recommendation=said))
    shown = words(html(report))
    assert "Recommendation" in shown
    assert "By kpi bought" in shown
    for text in ("PROMOTE", "12.3%", "8%", "0.0004", "v4 is better"):
        assert text in shown
    assert '<strong class="good">PROMOTE</strong>' in html(report)


def test_labels_are_shown_by_backend():
    report = samples.labelled()
    text = html(report)
    assert {"calibration", "label-delay"} <= plots(text)
    assert report.labels is not None
    shown = words(text)
    for side in report.labels.backends.values():
        assert side.accuracy is not None and side.auc is not None
        assert percent(side.accuracy.estimate) in shown
        assert number(side.auc.estimate) in shown
    assert number(report.labels.kpis["revenue"]["v4"].estimate) in shown
    assert "7d old" in shown
    svg = next(svg for svg in tree(text).iter("svg") if svg.get("id") == "calibration")
    assert len(list(svg.iter("circle"))) == sum(len(s.calibration) for s in report.labels.backends.values())


def test_drift_is_shown_by_field():
    report = samples.everything()
    text = html(report)
    shown = words(text)
    for part in ("amount", "0.42 (usual 0.02)", "<b> (3)", "score of v2", "31% of the values", "once in 30d"):
        assert part in shown
    svg = next(svg for svg in tree(text).iter("svg") if svg.get("id") == "drift")
    assert [bar.get("class") for bar in svg.iter("rect")] == ["bar bad", "bar wait", "bar wait"]


def test_a_route_without_a_profile_says_so():
    none = msgspec.structs.replace(samples.drift(), profile=None, trouble="it is being made")
    report = msgspec.structs.replace(samples.canary(), drift=none)
    assert "no profile to compare with yet: it is being made" in words(html(report))


def test_a_route_without_labels_has_no_such_section():
    assert "Labels and KPIs" not in words(html(samples.canary()))


def test_a_route_without_a_rollout_says_so():
    assert judged(samples.nothing()).sentence.startswith("No rollout and no mirror")
    assert "24\u202f000" in html(samples.nothing())


def test_points_of_the_plot_of_pairs_are_those_of_the_json():
    report = samples.shadow()
    assert report.comparison is not None
    svg = next(svg for svg in tree(html(report)).iter("svg") if svg.get("id") == "score-pairs")
    drawn = [circle.get("class") for circle in svg.iter("circle")]
    assert len(drawn) == len(report.comparison.scores.points)
    assert drawn.count("point changed") == sum(changed for *_, changed in report.comparison.scores.points)


def judgement(
    world: World,
    n: int = 4000,
    subject: Subject = samples.SUBJECT,
    phase: str = "progressing",
    verdicts=PASSED,
):
    found = samples.comparison_of(world, n, subject=subject)
    return judged(samples.report_of(found, samples.rollout_of(phase, verdicts=list(verdicts))))


def test_the_verdict_names_the_segment_that_differs():
    found = judgement(World(shift=0.15))
    assert found.tone == "bad"
    assert "plan = pro (+" in found.sentence


def test_a_model_that_is_alike_is_good_only_when_its_checks_pass_too():
    assert judgement(World(jitter=0.01)).tone == "good"
    assert "answers as v2 does" in judgement(World(jitter=0.01)).sentence
    assert judgement(World(jitter=0.01), verdicts=samples.VERDICTS[:2]).tone == "wait"


def test_few_pairs_decide_nothing():
    found = judgement(World(jitter=0.01), 60)
    assert (found.tone, found.sentence[:15]) == ("wait", "Not decided yet")


def test_a_difference_without_a_limit_is_no_verdict():
    found = judgement(World(shift=0.15), subject=NO_LIMIT)
    assert found.tone == "wait"
    assert judgement(World(), subject=NO_LIMIT).sentence.startswith(
        "No difference between v4 and v2 is proven"
    )


@pytest.mark.parametrize(
    ("phase", "tone", "sentence"),
    [
        ("aborted", "bad", "was taken out"),
        ("rolled_back", "bad", "was taken back"),
        ("promoted", "good", "is the champion"),
    ],
)
def test_what_was_decided_comes_first(phase, tone, sentence):
    found = judgement(World(shift=0.15), phase=phase)
    assert found.tone == tone
    assert sentence in found.sentence
    assert any("plan = pro" in line for line in found.support)


def test_an_order_to_train_is_no_decision_on_the_rollout():
    report = samples.report_of(None, samples.rollout_of(phase="aborted"))
    rollout = report.decisions[-1].reason
    order = Decision(BEGUN + 7200, "retrain", "loop", "data_drift gives order 1-1", {"order": "1-1"})
    report = msgspec.structs.replace(report, decisions=[*report.decisions, order])
    assert judged(report).support == [f"The last decision: {rollout}"]


def test_a_rollout_that_goes_on_says_where_it_is():
    found = judged(samples.report_of(None, samples.rollout_of(verdicts=samples.VERDICTS[:2])))
    assert found.sentence == "v4 is at 5% of the traffic, in step 2 of 3: not decided yet."
    assert found.support == ["Checks of the shadow rollout, which is progressing: 1 PASS and 1 UNDECIDED."]


def test_a_comparison_without_pairs_says_so():
    found = judged(samples.report_of(summary(ComparisonTable(), NO_LIMIT), None))
    assert found == Judgement("wait", "No answers of v4 have been compared with those of v2 yet.", [])


def test_an_excess_above_its_limit_in_no_certain_segment_is_bad():
    subject = msgspec.structs.replace(samples.SUBJECT, segment_limit=0.9)
    found = judgement(World(shift=0.3), subject=subject)
    assert (found.tone, found.sentence) == ("bad", "v4 differs from v2 by more than the limit of 5% allows.")


def test_a_difference_without_a_limit_and_without_a_segment_is_said():
    table = ComparisonTable()
    for i in range(400):
        table.add(Compared(str(i), BEGUN, None, i % 3 == 0, None, 0.5), 0.0)
    assert (
        "nobody has said how much is too much"
        in judged(samples.report_of(summary(table, NO_LIMIT), None)).sentence
    )


def test_of_many_segments_some_are_named():
    table = ComparisonTable()
    for i in range(6000):
        table.add(Compared(str(i), BEGUN, None, True, None, 1.0, segments=(f"s{i % 5}",)), 0.0)
    found = judged(samples.report_of(summary(table, samples.SUBJECT), None))
    assert found.sentence.endswith("and 2 more.")


def test_it_says_what_is_not_known():
    noiseless = ComparisonTable()
    for i in range(30):
        pair = Compared(str(i), BEGUN, 7, False, None, 0.0, rows=4, rows_changed=1, decided=False)
        noiseless.add(pair, 0.0)
    noiseless.drop("pair_time", 3)
    said = " ".join(unknowns(samples.report_of(summary(noiseless, NO_LIMIT), samples.rollout_of())))
    for part in (
        "30 pairs are few",
        "`noise` of the mirror is 0",
        "about 1 customer",
        "All of each batch",
        "no `segment`",
        "came too late (3)",
        "no decision",
        "no feedback",
    ):
        assert part in said
    assert "Who is right" in said


def test_second_answers_that_never_came_are_said():
    table = table_of(World(), 100)
    table.add(Compared("r", BEGUN, None, False, None, 0.0, noise_changed=True, noise_distance=1.0), 0.1)
    said = " ".join(unknowns(samples.report_of(summary(table, NO_LIMIT), None)))
    assert "What 1 second answer of v2 would have said: those that never came" in said


def test_hostile_answers_names_and_reasons_stay_text():
    evil = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\u202e"
    table = ComparisonTable()
    for i in range(60):
        table.add(
            Compared(
                request_id=f"{evil}{i}",
                at=BEGUN + i,
                key=None,
                changed=True,
                raised=None,
                distance=1.0,
                noise_changed=False,
                noise_distance=0.0,
                champion_decision=evil,
                challenger_decision=f"{evil}2",
                segments=(evil,),
                fields=(evil,),
                champion=evil,
                challenger=evil,
            ),
            0.5,
        )
    table.drop(evil)
    found = summary(table, Subject(evil, evil, evil, BEGUN, BEGUN, (evil,)))
    report = samples.report_of(
        found, samples.rollout_of(verdicts=[msgspec.structs.replace(PASSED[0], check=evil, reason=evil)])
    )
    text = html(report)
    root = tree(text)
    assert not list(root.iter("script"))
    assert not list(root.iter("img"))
    assert "\u202e" not in text
    assert "<script>alert(1)" in words(text)


@pytest.mark.parametrize("decides", [True, False])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_few_pairs_of_any_kind_make_a_page(n, decides):
    found = samples.comparison_of(World(jitter=0.1, errors=0.3, decides=decides), n)
    tree(html(samples.report_of(found, None)))


def test_numbers_of_any_size_make_a_page():
    table = table_of(World(), 3)
    for i, value in enumerate((-1e300, 0.0, 1e-300, 1e300)):
        table.add(
            Compared(str(i), 0.0, None, True, None, 0.5, champion_score=value, challenger_score=-value), 0.1
        )
    tree(html(samples.report_of(summary(table, NO_LIMIT), None)))
