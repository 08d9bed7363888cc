from __future__ import annotations

import pytest

from crossfade_backends.cors import parse_origin
from tests.backends.serving import ROW, serving

PAGE = "https://app.example.com"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize("text", ["*", PAGE, "http://localhost:3000", "http://[::1]:3000"])
def test_origins_are_taken(text):
    assert parse_origin(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "example.com",
        f"{PAGE}/",
        f"{PAGE}/x",
        "ftp://a.example",
        "https://A.example",
        "https://",
        "https://a.example:443",
        "http://a.example:80",
        "https://u@a.example",
        "http://a:x",
        "**",
    ],
)
def test_what_no_browser_sends_is_refused(text):
    with pytest.raises(ValueError):
        parse_origin(text)


async def test_a_page_of_an_allowed_origin_may_predict(registry):
    async with serving(registry, cors_origins=(PAGE,)) as client:
        async with client.options("/predict", headers=PREFLIGHT) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert "PUT" not in answer.headers["Access-Control-Allow-Methods"]  # that is for faults
        async with client.post("/predict", json=ROW, headers={"Origin": PAGE}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
            assert answer.headers["Vary"] == "Origin"
        async with client.post("/predict", data=b"{", headers={"Origin": PAGE}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (400, PAGE)


@pytest.mark.parametrize("options", [{}, {"cors_origins": ("https://other.example",)}])
async def test_a_page_of_another_origin_may_not(registry, options):
    async with serving(registry, **options) as client:
        async with client.options("/predict", headers=PREFLIGHT) as answer:
            assert answer.status == 405
            assert "Access-Control-Allow-Origin" not in answer.headers
        async with client.post("/predict", json=ROW, headers={"Origin": PAGE}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers.get("Vary") == ("Origin" if options else None)


async def test_any_origin(registry):
    async with serving(registry, cors_origins=("*",)) as client:
        async with client.options("/predict", headers=PREFLIGHT) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
        async with client.get("/health") as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
