"""The proxies that are measured, each configured for the same work.

That work: two origins, customers held to one of them by X-Customer-Id, 90 % to `a` and 10 % to `b`;
keep-alive on both sides, X-Forwarded-For, no access log, one worker or thread. Crossfade runs as a
user runs it, with its control process, health probes and metrics on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from loadtests.ports import free_ports
from loadtests.work import HEADER

Origins = Mapping[str, int]  # name → port


@dataclass(frozen=True, slots=True)
class Contestant:
    """`check` validates its configuration without running it; empty if it has no such command."""

    name: str
    version: str
    port: int
    argv: list[str]
    check: list[str]


def crossfade(folder: Path, origins: Origins) -> Contestant:
    port, admin = free_ports(2)
    file = folder / "bench.yaml"
    file.write_text(f"""\
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
workers: 1
state: sqlite:{folder}/crossfade.db
backends:
  a: {{endpoints: [http://127.0.0.1:{origins["a"]}]}}
  b: {{endpoints: [http://127.0.0.1:{origins["b"]}]}}
routes:
  - name: bench
    match: {{prefix: /}}
    sticky: {{header: {HEADER}}}
    split: {{a: 90%, b: 10%}}
""")
    command = [sys.executable, "-m", "proxy"]
    return Contestant(
        "crossfade",
        version("crossfade"),
        port,
        [*command, "run", str(file)],
        [*command, "check", str(file)],
    )


def nginx(folder: Path, origins: Origins) -> Contestant:
    (port,) = free_ports(1)
    file = folder / "nginx.conf"
    # Without `user` a worker started by root could not enter the folder of this run.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstreams = "".join(
        f"upstream {name} {{ server 127.0.0.1:{p}; keepalive 256; keepalive_requests 100000000; }}\n"
        for name, p in origins.items()
    )
    file.write_text(f"""\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temporary}
  keepalive_requests 100000000;
  split_clients "$http_{HEADER.lower().replace("-", "_")}" $origin {{ 10% b; * a; }}
  {upstreams}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://$origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffers 16 16k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
""")
    command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(file)]
    return Contestant("nginx", printed_version(["nginx", "-v"]), port, command, [*command, "-t"])


def haproxy(folder: Path, origins: Origins) -> Contestant:
    (port,) = free_ports(1)
    file = folder / "haproxy.cfg"
    file.write_text(f"""\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 1s
  option http-keep-alive
  option forwardfor
frontend bench
  bind 127.0.0.1:{port}
  default_backend origins
backend origins
  balance hdr({HEADER})
  hash-type map-based djb2 avalanche
  http-reuse always
  server a 127.0.0.1:{origins["a"]} weight 90
  server b 127.0.0.1:{origins["b"]} weight 10
""")
    command = ["haproxy", "-f", str(file), "-db"]
    return Contestant(
        "HAProxy", printed_version(["haproxy", "-v"]), port, command, ["haproxy", "-c", "-f", str(file)]
    )


def aiohttp(folder: Path, origins: Origins) -> Contestant:
    (port,) = free_ports(1)
    ports = [str(port), str(origins["a"]), str(origins["b"])]
    return Contestant(
        "aiohttp",
        version("aiohttp"),
        port,
        [sys.executable, "-m", "loadtests.peers.aiohttp_proxy", *ports],
        [],
    )


def printed_version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


MAKERS: dict[str, Callable[[Path, Origins], Contestant]] = {
    "crossfade": crossfade,
    "nginx": nginx,
    "haproxy": haproxy,
    "aiohttp": aiohttp,
}
# What has to be on the PATH; the others are Python and always there.
PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy"}


def is_present(name: str) -> bool:
    return name not in PROGRAMS or shutil.which(PROGRAMS[name]) is not None
