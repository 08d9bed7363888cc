"""The spelling of paths, and all ways in which a server may read one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.paths import KEEP, REFUSE, BadPath, normalised, readings, spelled

PARTS = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "a",
        "b",
        "%61",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%3a",
        ":",
        "%25",
        "%7E",
        "~",
        "%c3",
        "[",
        "|",
        "%00",
    ]
)
PATHS = st.lists(PARTS, max_size=8).map(lambda parts: "/" + "".join(parts)).map(str.encode)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/predict", "/predict"),
        ("/%70redict", "/predict"),
        ("/predict%2dnow%5F1%7e", "/predict-now_1~"),
        ("/%50redict", "/Predict"),
        ("/models/churn%3Apredict", "/models/churn:predict"),
        ("/a%2Cb%40c", "/a,b@c"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%2fb%5cc\\d", "/a%2Fb%5Cc%5Cd"),
        ("/a[0]|b", "/a%5B0%5D%7Cb"),
        ("/%2570redict", "/%2570redict"),
        ("/%3Fx%23", "/%3Fx%23"),
        ("/./predict", "/predict"),
        ("/x/../predict", "/predict"),
        ("/x/%2e%2E/predict", "/predict"),
        ("/x/.%2e/%2e/predict", "/predict"),
        ("/x/.", "/x/"),
        ("/x/y/..", "/x/"),
        ("/x/..", "/"),
        ("/.", "/"),
        ("/.well-known/...", "/.well-known/..."),
        ("/x/..y/.z", "/x/..y/.z"),
        ("//predict", "//predict"),
    ],
)
def test_a_path_has_one_spelling(path: str, expected: str):
    assert normalised(path.encode()).decode() == expected


@pytest.mark.parametrize(
    "path", ["/", "/predict", "/v2/models/a/infer", "/a/", "/v1/models/churn:predict", "/a;v=1,2~x"]
)
def test_nothing_is_done_with_a_plain_path(path: str):
    assert spelled(path.encode()) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a%00", "NUL"),
        ("/%", "hexadecimal"),
        ("/%7", "hexadecimal"),
        ("/%7g", "hexadecimal"),
        ("/%%370redict", "hexadecimal"),
        ("/..", "above the root"),
        ("/../x", "above the root"),
        ("/x/../../y", "above the root"),
        ("/x/%2e%2e/.%2e/y", "above the root"),
    ],
)
def test_a_path_that_servers_read_differently_is_refused(path: str, why: str):
    with pytest.raises(BadPath, match=why):
        normalised(path.encode())


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("//predict", {}, ["/predict"]),
        ("//predict", {"merge_slashes": False}, ["//predict"]),
        ("/a//../b", {}, ["/b", "/a/b"]),
        ("/a//../b", {"merge_slashes": False}, ["/a/b"]),
        ("/a%2Fb", {}, ["/a%2Fb", "/a/b"]),
        ("/a%2Fb", {"encoded_slashes": KEEP}, ["/a%2Fb"]),
        ("/a%2F..%5Cb", {}, ["/a%2F..%5Cb", "/a/..%5Cb", "/b"]),
        ("/a%2Fb/../c", {}, ["/c", "/a/c"]),
        ("/a/%2F../b", {}, ["/a/%2F../b", "/b", "/a/b"]),
    ],
)
def test_a_path_may_have_several_readings(path: str, options: dict[str, object], expected: list[str]):
    assert [reading.decode() for reading in readings(path.encode(), **options)] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%5Cb"])
def test_the_policy_may_refuse_encoded_slashes(path: str):
    with pytest.raises(BadPath, match="encoded slash or a backslash"):
        readings(path.encode(), True, REFUSE)


@given(PATHS)
def test_a_normalised_path_stays_as_it_is(path: bytes):
    try:
        once = normalised(path)
    except BadPath:
        return
    assert normalised(once) == once
    for reading in readings(once, True, KEEP):
        assert readings(reading, True, KEEP)[0] == reading


@given(st.lists(st.sampled_from("ab~-:/"), max_size=8), st.data())
def test_equal_spellings_are_one_path(characters: list[str], data: st.DataObject):
    """Any character percent-encoded or not, in either case, is the same character; a slash stays."""
    written = "".join(
        c
        if c == "/" or data.draw(st.booleans())
        else data.draw(st.sampled_from([f"%{ord(c):02x}", f"%{ord(c):02X}"]))
        for c in characters
    )
    assert normalised(b"/" + written.encode()) == normalised(b"/" + "".join(characters).encode())


@given(PATHS)
def test_a_plain_path_is_its_own_spelling(path: bytes):
    try:
        plain = spelled(path) is None
    except BadPath:
        return
    if plain:
        assert normalised(path) == path
        assert readings(path) == [path]
