"""Addresses: where the proxy listens, and where a backend's endpoints are.

Rule: an address is parsed and checked once, when the configuration is read. IPv6 is in brackets
(RFC 3986 section 3.2.2); hosts are lower-case.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import quote, urlsplit

from crossfade.config.problem import BadValue, shown
from crossfade.config.section import Section

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")  # service names may hold underscores
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_LABEL_LIMIT = 63  # RFC 1035 section 2.3.4
_ALL_ADDRESSES = "0.0.0.0"
_UNIX_PATH_LIMIT = 107  # bytes; unix(7): sun_path without its NUL


class ListenConfig(Section):
    """A TCP address, or the path of a unix socket, which has no host. Port 0: the system chooses a port."""

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        return f"unix:{self.path}" if self.path else _host_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine can connect."""
        if self.path:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def overlaps(self, other: ListenConfig) -> bool:
        """Whether the two cannot be bound at the same time."""
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or self.port == 0:
            return False
        same_family = (":" in self.host) == (":" in other.host)
        anywhere = {self.host, other.host} & {_ALL_ADDRESSES, "::"}
        return self.host == other.host or (same_family and bool(anywhere))


class EndpointConfig(Section):
    """A TCP address, with or without TLS, or a unix socket, which has a path and no host.

    `base`: the path of its URL, as written; it comes in front of the path of each request. `weight`: its part of the
    backend's requests, beside the weights of the other endpoints.
    """

    host: str = ""
    port: int = 0
    tls: bool = False
    path: str = ""
    base: str = ""
    weight: int = 1

    @property
    def authority(self) -> str:
        """The Host field for a request without one."""
        return "localhost" if self.path else _host_port(self.host, self.port)

    @property
    def name(self) -> str:
        """Identifies the endpoint within its backend."""
        return self.url if self.tls or self.path or self.base else self.authority

    @property
    def url(self) -> str:
        """The URL in metrics and in the admin API."""
        if self.path:
            return f"unix://{self.path}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base}"


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(value: object) -> ListenConfig:
    """From `host:port`, `:port` (all IPv4 addresses) or `[::1]:port`."""
    if isinstance(value, ListenConfig):
        return value
    if not isinstance(value, str):
        raise BadValue(f"must be host:port, not {shown(value)}", f":{value}" if type(value) is int else None)
    if value.isdecimal():
        raise BadValue(f"must be host:port, not {shown(value)}", f":{value}")
    if value.count(":") > 1 and not value.startswith("["):
        raise BadValue(f"must have IPv6 in brackets, as in [::1]:8080, not {shown(value)}")
    host, port = _authority(value)
    if port is None:
        raise BadValue(f"must end with a port, as in {host or '127.0.0.1'}:8080")
    return ListenConfig(host=host or _ALL_ADDRESSES, port=port)


def listen_here(value: object) -> ListenConfig:
    """As `listen`, or from `unix:/path`."""
    if isinstance(value, str) and value.startswith("unix:"):
        return ListenConfig(host="", port=0, path=_absolute_path(value, "unix:", "/run/crossfade.sock"))
    return listen(value)


def _absolute_path(text: str, scheme: str, example: str) -> str:
    """Of `unix:/path` and `unix:///path`. `scheme` and `example`: as messages have it."""
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/") or path.endswith("/"):
        raise BadValue(f"must be {scheme} and an absolute path, as in {scheme}{example}, not {shown(text)}")
    if len(path.encode()) > _UNIX_PATH_LIMIT or "\0" in path:
        raise BadValue(f"must have a path of at most {_UNIX_PATH_LIMIT} bytes")
    return path


def endpoint(value: object) -> EndpointConfig:
    """From `http://host:port/base`, `https://host:port/base` (default ports 80 and 443) or `unix:///path`."""
    if isinstance(value, EndpointConfig):
        return value
    if not isinstance(value, str):
        raise BadValue(f"must be a URL such as http://host:8000, not {shown(value)}")
    scheme, separator, rest = value.partition("://")
    if value.startswith("unix:"):
        return _unix_socket(value)
    if not separator:
        raise BadValue(f"must begin with http://, not be {shown(value)}", f"http://{value}")
    tls = scheme.lower() == "https"
    if scheme.lower() not in ("http", "https"):
        raise BadValue(f"must be http://, https:// or unix://, not {scheme}://")
    if "@" in rest:
        raise BadValue("must not hold a user name or password")
    if re.search(r"[?#]", rest):
        kept = re.split(r"[?#]", rest)[0]
        raise BadValue("must not have a query; each request has its own", f"{scheme}://{kept}")
    host, port = _authority(rest.partition("/")[0])
    if not host or port == 0:
        raise BadValue(f"must name a host and a port from 1 to 65535, not {shown(value)}")
    if port is None:
        port = 443 if tls else 80
    return EndpointConfig(host=host, port=port, tls=tls, base=_base(rest.partition("/")[2]))


def _base(path: str) -> str:
    """The path of an endpoint's URL, behind its first slash; empty if there is none."""
    if re.search(r"[^!-~]", path):
        hint = quote(path, safe="/%:@!$&'()*+,;=~")
        raise BadValue(f"must have a percent-encoded path, not {shown(path)}", hint)
    if has_dot_segments(path):
        raise BadValue(f'must not hold the segments "." and "..", not {shown(path)}')
    return f"/{path}" if path else ""


def has_dot_segments(path: str) -> bool:
    """Whether a segment of the path is `.` or `..`, percent-encoded or not."""
    return any(segment.replace("%2e", ".") in (".", "..") for segment in path.lower().split("/"))


def _unix_socket(text: str) -> EndpointConfig:
    """From `unix:///run/model.sock`, as in gRPC and Docker; the path is absolute."""
    path = _absolute_path(text, "unix://", "/run/model.sock")
    if not text.startswith("unix:///"):
        raise BadValue("must have three slashes: unix:// and an absolute path", f"unix://{path}")
    return EndpointConfig(path=path)


def _authority(text: str) -> tuple[str, int | None]:
    """(host, port) from host, host:port, :port or [v6]:port; the host is valid, or empty."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise BadValue(f"must be host:port, not {shown(text)}")
    host, port = found[1], int(found[2]) if found[2] else None
    if port is not None and port > 65535:
        raise BadValue(f"must have a port of at most 65535, not {port}")
    if host.startswith("["):
        return _ipv6(host[1:-1]), port
    if host and (len(host) > 253 or not _HOST.fullmatch(host)):
        raise BadValue(f"must name a host of letters, digits, dots and hyphens, not {shown(host)}")
    if host and not all(0 < len(label) <= _LABEL_LIMIT for label in host.removesuffix(".").split(".")):
        raise BadValue(
            f"must name a host with 1 to {_LABEL_LIMIT} characters between dots, not {shown(host)}"
        )
    return host.lower(), port


def host_name(value: object) -> str:
    """A host without a port, or an address without brackets."""
    host, port = _authority(value) if isinstance(value, str) and ":" not in value else ("", None)
    if not host or port is not None:
        raise BadValue(f"must be a host name, not {shown(value)}")
    return host


def authority(value: object) -> str:
    """A host with or without a port, as a Host field holds it."""
    host, port = _authority(value) if isinstance(value, str) else ("", None)
    if not host:
        raise BadValue(f"must be a host name, not {shown(value)}")
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise BadValue(f"must have an IPv6 address in the brackets, not {shown(text)}") from None


def network(value: object) -> str:
    """An address range such as 10.0.0.0/8; a single address is a range of one."""
    if not isinstance(value, str):
        raise BadValue(f"must be an address range such as 10.0.0.0/8, not {shown(value)}")
    try:
        return str(ip_network(value))
    except ValueError:
        pass
    try:
        near = str(ip_network(value, strict=False))
    except ValueError:
        raise BadValue(f"must be an address range such as 10.0.0.0/8, not {shown(value)}") from None
    raise BadValue(f"must be the first address of its range, not {shown(value)}", near)


def web_url(value: object) -> str:
    """An absolute http or https URL."""
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        valid = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        valid = False
    if not valid:
        raise BadValue(f"must be a URL such as https://example.com/hook, not {shown(value)}")
    return str(text)


def secret_url(value: object) -> str:
    """As `web_url`; no message shows it, as the path of a webhook is often its password."""
    try:
        return web_url(value)
    except BadValue:
        raise BadValue("must be a URL such as https://example.com/hook") from None
