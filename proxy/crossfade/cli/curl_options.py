"""A request written like curl's options: as the arguments of a command, and from there the request itself.

Rule: what curl would send is what is asked about. Options of curl that change nothing about the request, such as -s, are taken and ignored.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from crossfade.cli.exits import INVALID, USAGE, CommandFailed

_IGNORED = ("-s", "-S", "-i", "-v", "-k", "-L", "-f", "-N")
_FORM = "application/x-www-form-urlencoded"


def add_curl_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", help="such as http://proxy:8080/predict, or /predict")
    command.add_argument(
        "-X", "--request", metavar="METHOD", help="(default: GET, with -d POST, with -I HEAD)"
    )
    command.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", action="append", default=[], help="a header field"
    )
    command.add_argument(
        "-d",
        "--data",
        "--data-raw",
        "--data-binary",
        metavar="BODY",
        action="append",
        default=[],
        help="the body; @FILE reads a file, @- standard input",
    )
    command.add_argument(
        "-b", "--cookie", metavar="'NAME=VALUE'", action="append", default=[], help="a cookie"
    )
    command.add_argument("-A", "--user-agent", metavar="NAME", help="the User-Agent field")
    command.add_argument("-I", "--head", action="store_true", help="a HEAD request")
    command.add_argument(
        "--client",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="where the request comes from (default: 127.0.0.1)",
    )
    for option in _IGNORED:
        command.add_argument(option, action="store_true", help=argparse.SUPPRESS)


def request_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The body of `POST /api/v1/explain`. Raises CommandFailed."""
    host, target = _place(arguments.url)
    own = {
        "Host": host,
        "User-Agent": arguments.user_agent or "",
        "Cookie": "; ".join(arguments.cookie),
        "Content-Type": _FORM if arguments.data else "",
    }
    method = "HEAD" if arguments.head else "POST" if arguments.data else "GET"
    return {
        "method": arguments.request or method,
        "target": target,
        "headers": _headers({name: value for name, value in own.items() if value}, arguments.header),
        "body": "&".join(map(_data, arguments.data)),
        "client": arguments.client,
        "tls": arguments.url.lower().startswith("https://"),
    }


def _headers(own: dict[str, str], fields: list[str]) -> dict[str, list[str]]:
    """`own`: what curl sends of itself; a field of -H with the same name replaces it, and `NAME:` takes it out."""
    given, named = dict[str, list[str]](), set[str]()
    for field in fields:
        name, colon, value = field.partition(":")
        name, value = name.strip(), value.strip()
        if not colon and name.endswith(";"):  # a field without a value
            name, colon = name[:-1], ";"
        if not colon or not name:
            raise CommandFailed(USAGE, f"-H {field}: must look like 'X-Customer-Id: 42'")
        named.add(name.lower())
        if value or colon == ";":
            given.setdefault(name, []).append(value)
    return {name: [value] for name, value in own.items() if name.lower() not in named} | given


def _place(url: str) -> tuple[str, str]:
    """Host and target. As curl reads it: what has no scheme and no slash in front begins with the host."""
    from urllib.parse import urlsplit

    if url.startswith("/"):
        return "", url
    given = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(given)
        host = parts.netloc.rpartition("@")[2]
    except ValueError as error:
        raise CommandFailed(USAGE, f"{url}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise CommandFailed(USAGE, f"{url}: the URL must look like http://proxy:8080/predict")
    return host, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _data(given: str) -> str:
    """As curl's --data: a file's line breaks are taken out by nobody here, for JSON does not mind them."""
    from pathlib import Path

    if not given.startswith("@"):
        return given
    try:
        return sys.stdin.read() if given == "@-" else Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(INVALID, f"{given[1:]}: {error}") from None
