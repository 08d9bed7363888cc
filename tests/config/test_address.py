from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config import address
from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.problem import BadValue, shown


@pytest.mark.parametrize(
    ("written", "host", "port", "authority"),
    [
        ("0.0.0.0:8080", "0.0.0.0", 8080, "0.0.0.0:8080"),
        (":8080", "0.0.0.0", 8080, "0.0.0.0:8080"),
        ("[::1]:80", "::1", 80, "[::1]:80"),
        ("[0:0::1]:80", "::1", 80, "[::1]:80"),
        ("LocalHost:0", "localhost", 0, "localhost:0"),
    ],
)
def test_a_listen_address_is_read(written: str, host: str, port: int, authority: str):
    found = address.listen(written)
    assert (found.host, found.port, found.authority) == (host, port, authority)
    assert address.listen(found) is found


@pytest.mark.parametrize(
    ("written", "host", "port", "authority"),
    [
        ("http://churn-v2:8000", "churn-v2", 8000, "churn-v2:8000"),
        ("http://churn_v2:8000/", "churn_v2", 8000, "churn_v2:8000"),
        ("HTTP://A.Example.", "a.example.", 80, "a.example.:80"),
        ("http://[::1]:8000", "::1", 8000, "[::1]:8000"),
        ("http://127.0.0.1", "127.0.0.1", 80, "127.0.0.1:80"),
    ],
)
def test_an_http_endpoint_is_read(written: str, host: str, port: int, authority: str):
    found = address.endpoint(written)
    assert (found.host, found.port, found.authority) == (host, port, authority)
    assert (found.name, found.url, found.tls) == (authority, f"http://{authority}", False)
    assert address.endpoint(found) is found


@pytest.mark.parametrize(
    ("written", "host", "port", "url"),
    [
        ("https://Churn-v2:8443/", "churn-v2", 8443, "https://churn-v2:8443"),
        ("https://churn-v2", "churn-v2", 443, "https://churn-v2:443"),
        ("HTTPS://[::1]", "::1", 443, "https://[::1]:443"),
    ],
)
def test_an_https_endpoint_is_read(written: str, host: str, port: int, url: str):
    found = address.endpoint(written)
    assert (found.host, found.port, found.tls, found.name, found.url) == (host, port, True, url, url)


def test_a_unix_socket_endpoint_is_read():
    found = address.endpoint("unix:///run/Model.sock")
    assert (found.path, found.name, found.url) == (
        "/run/Model.sock",
        "unix:///run/Model.sock",
        "unix:///run/Model.sock",
    )
    assert found.authority == "localhost"


def test_a_server_name_is_read():
    assert address.host_name("Churn-v2") == "churn-v2"


@pytest.mark.parametrize(
    ("read", "written", "message", "suggestion"),
    [
        (address.listen, "8080", 'must be host:port, not "8080"', ":8080"),
        (address.listen, 8080, "must be host:port, not 8080", ":8080"),
        (address.listen, None, "must be host:port, not empty", None),
        (address.listen, "::1:8080", 'must have IPv6 in brackets, as in [::1]:8080, not "::1:8080"', None),
        (address.listen, "[::g]:80", 'must have an IPv6 address in the brackets, not "::g"', None),
        (address.listen, "localhost", "must end with a port, as in localhost:8080", None),
        (address.listen, "a b:80", 'must name a host of letters, digits, dots and hyphens, not "a b"', None),
        (
            address.endpoint,
            "http://a..b",
            'must name a host with 1 to 63 characters between dots, not "a..b"',
            None,
        ),
        (
            address.endpoint,
            "http://a." + 64 * "b" + ".test:80",
            f"must name a host with 1 to 63 characters between dots, not {shown('a.' + 64 * 'b' + '.test')}",
            None,
        ),
        (address.listen, ":99999", "must have a port of at most 65535, not 99999", None),
        (address.listen, "host:port", 'must be host:port, not "host:port"', None),
        (address.endpoint, "a:1", 'must begin with http://, not be "a:1"', "http://a:1"),
        (address.endpoint, "grpc://a:1", "must be http://, https:// or unix://, not grpc://", None),
        (
            address.endpoint,
            "unix:/run/a.sock",
            "must have three slashes: unix:// and an absolute path",
            "unix:///run/a.sock",
        ),
        (
            address.endpoint,
            "unix://a.sock",
            'must be unix:// and an absolute path, as in unix:///run/model.sock, not "unix://a.sock"',
            None,
        ),
        (
            address.endpoint,
            "unix:///run/",
            'must be unix:// and an absolute path, as in unix:///run/model.sock, not "unix:///run/"',
            None,
        ),
        (address.endpoint, "unix:///" + "a" * 107, "must have a path of at most 107 bytes", None),
        (address.host_name, "a:1", 'must be a host name, not "a:1"', None),
        (address.host_name, None, "must be a host name, not empty", None),
        (address.endpoint, "http://u:p@a", "must not hold a user name or password", None),
        (
            address.endpoint,
            "http://a:1/x?y",
            "must not have a query; each request has its own",
            "http://a:1/x",
        ),
        (address.endpoint, "http://", 'must name a host and a port from 1 to 65535, not "http://"', None),
        (
            address.endpoint,
            "http://a:0",
            'must name a host and a port from 1 to 65535, not "http://a:0"',
            None,
        ),
        (address.endpoint, ["x"], "must be a URL such as http://host:8000, not a list", None),
        (
            address.network,
            "10.0.0.1/8",
            'must be the first address of its range, not "10.0.0.1/8"',
            "10.0.0.0/8",
        ),
        (address.network, "ten", 'must be an address range such as 10.0.0.0/8, not "ten"', None),
        (address.network, None, "must be an address range such as 10.0.0.0/8, not empty", None),
        (
            address.web_url,
            "example.com",
            'must be a URL such as https://example.com/hook, not "example.com"',
            None,
        ),
        (address.web_url, "http://[", 'must be a URL such as https://example.com/hook, not "http://["', None),
        (address.web_url, None, "must be a URL such as https://example.com/hook, not empty", None),
    ],
)
def test_an_invalid_address_is_refused_with_a_suggestion(
    read: Callable[[object], object], written: object, message: str, suggestion: str | None
):
    with pytest.raises(BadValue) as caught:
        read(written)
    assert (caught.value.message, caught.value.suggestion) == (message, suggestion)


def test_networks_and_web_urls_are_read():
    assert address.network("10.0.0.0/8") == "10.0.0.0/8"
    assert address.network("::1") == "::1/128"
    assert address.web_url("https://example.com/hook?x=1") == "https://example.com/hook?x=1"


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("[::]:80", "0.0.0.0:80", False),
        ("[::]:80", "[::1]:80", True),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_listeners_overlap(one: str, other: str, overlap: bool):
    assert address.listen(one).overlaps(address.listen(other)) is overlap
    assert address.listen(other).overlaps(address.listen(one)) is overlap


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("h", False),
    ],
)
def test_is_loopback(host: str, loopback: bool):
    assert ListenConfig(host=host, port=1).is_loopback is loopback


@settings(deadline=None)
@given(
    st.from_regex(r"(http://)?(\[[0-9a-f:]{0,9}\]|[a-z0-9.-]{0,9})(:[0-9]{1,6})?/?", fullmatch=True)
    | st.text()
)
def test_an_address_is_read_or_refused(written: str):
    for read in (address.listen, address.endpoint, address.network, address.web_url):
        try:
            found = read(written)
        except BadValue:
            continue
        if isinstance(found, EndpointConfig):
            assert address.endpoint(f"http://{found.authority}") == found
        if isinstance(found, ListenConfig):
            assert address.listen(found.authority) == found
