"""The failure table: one row for each stage, and the rules that hold for all rows."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from crossfade.errors import FAILURES, UNSENT, Failure, Fallback, RequestRefused, Source, Stage

CUT, LEFT = 0, 499  # no response is sent
NOTHING_SENT = {Stage.NO_ENDPOINT} | UNSENT


@pytest.fixture(params=list(Stage), ids=str)
def failure(request) -> Failure:
    return FAILURES[request.param]


def test_each_stage_has_a_row():
    assert FAILURES.keys() == set(Stage)
    assert all(failure.stage is stage for stage, failure in FAILURES.items())


def test_a_row_with_a_response_has_a_status_and_a_detail(failure):
    if failure.status in (CUT, LEFT):
        assert failure.detail == ""
    else:
        assert HTTPStatus(failure.status).phrase
        assert failure.detail.endswith(".")


def test_only_an_upstream_failure_is_blamed_or_repeated(failure):
    """Law 6: a client that hangs up, or a full proxy, is never a failure of a backend.

    One failure that is not a backend's may be repeated: the cut of a challenger's exchange.
    """
    own = failure.source is Source.UPSTREAM
    assert failure.blames_backend is own
    assert (
        own
        or failure.stage is Stage.CUT
        or (not failure.retries_endpoint and failure.fallback is Fallback.NEVER)
    )


def test_a_request_that_may_have_been_sent_is_repeated_on_pure_routes_only(failure):
    assert (failure.fallback is Fallback.ALWAYS) is (failure.stage in NOTHING_SENT)


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        (Stage.PARSE, 400),
        (Stage.LIMIT, 413),
        (Stage.HEAD_TIMEOUT, 408),
        (Stage.MIN_RATE, 408),
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
def test_the_status_of_a_stage(stage, status):
    assert FAILURES[stage].status == status


def test_a_refusal_has_the_detail_of_its_row_by_default():
    default = RequestRefused(Stage.NO_ROUTE)
    assert (default.status, default.detail) == (404, "No route matches this request.")
    assert str(default) == "internal/no_route: No route matches this request."
    own = RequestRefused(Stage.LIMIT, "Too many header fields.", 431)
    assert (own.status, own.detail, own.failure) == (431, "Too many header fields.", FAILURES[Stage.LIMIT])
