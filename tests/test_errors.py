"""The failure table: one row for each stage, and what no row may say."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from crossfade.errors import FAILURES, UNSENT, Failure, Fallback, RequestRefused, Source, Stage

CUT, LEFT = 0, 499  # no answer goes out
NOTHING_SENT = {Stage.NO_ENDPOINT} | UNSENT


@pytest.fixture(params=list(Stage), ids=str)
def failure(request) -> Failure:
    return FAILURES[request.param]


def test_each_stage_has_its_row():
    assert FAILURES.keys() == set(Stage)
    assert all(failure.stage is stage for stage, failure in FAILURES.items())


def test_an_answer_can_be_written(failure):
    if failure.status in (CUT, LEFT):
        assert failure.detail == ""
    else:
        assert HTTPStatus(failure.status).phrase
        assert failure.detail.endswith(".")


def test_only_a_backend_s_own_failure_is_blamed_or_repeated(failure):
    """Law 6: a client that hangs up, or a full proxy, never costs a backend its good name.

    The one failure that is nobody's and may be repeated is that a challenger was taken back.
    """
    own = failure.source is Source.UPSTREAM
    assert failure.blames_backend is own
    assert (
        own
        or failure.stage is Stage.CUT
        or (not failure.retries_endpoint and failure.fallback is Fallback.NEVER)
    )


def test_what_a_backend_may_have_acted_on_is_repeated_on_pure_routes_only(failure):
    assert (failure.fallback is Fallback.ALWAYS) is (failure.stage in NOTHING_SENT)


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        (Stage.PARSE, 400),
        (Stage.LIMIT, 413),
        (Stage.HEAD_TIMEOUT, 408),
        (Stage.CLIENT_LEFT, LEFT),
        (Stage.NO_ROUTE, 404),
        (Stage.OVERLOAD, 503),
        (Stage.RATE, 429),
        (Stage.OVERRIDE, 403),
        (Stage.NO_ENDPOINT, 503),
        (Stage.CONNECT, 502),
        (Stage.STALE, 502),
        (Stage.RESET, 502),
        (Stage.FIRST_BYTE, 504),
        (Stage.PROTOCOL, 502),
        (Stage.TOTAL, 504),
        (Stage.BODY, CUT),
        (Stage.STATUS, CUT),
    ],
)
def test_status(stage, status):
    assert FAILURES[stage].status == status


def test_a_refusal_says_what_its_row_says_unless_told_otherwise():
    plain = RequestRefused(Stage.NO_ROUTE)
    assert (plain.status, plain.detail) == (404, "No route matches this request.")
    assert str(plain) == "internal/no_route: No route matches this request."
    told = RequestRefused(Stage.LIMIT, "Too many header fields.", 431)
    assert (told.status, told.detail, told.failure) == (431, "Too many header fields.", FAILURES[Stage.LIMIT])
