"""The proxies that are measured, each configured for the same work.

That work: two origins, customers held to one of them by X-Customer-Id, 90 % to `a` and 10 % to `b`;
keep-alive on both sides, X-Forwarded-For, no access log, one worker or thread; server-sent events are not
held back. Crossfade runs as a user runs it, with its control process, health probes and metrics on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from loadtests.contestant import Contestant, Origins, found, printed_version, program
from loadtests.packaged import caddy, envoy, traefik
from loadtests.ports import free_ports
from loadtests.work import HEADER

COMPILED = (
    Path(sys.prefix) / "compiled"
)  # where `make .venv/compiled/ok` puts the package with its compiled data plane


def crossfade(
    folder: Path,
    origins: Origins,
    *,
    sticky: str = f"header: {HEADER}",
    mirrored: bool = False,
    workers: int = 1,
    compiled: bool = False,
) -> Contestant:
    """With options that only comparisons of crossfade with itself use; `mirrored`: all requests, to `c`."""
    mirror = "mirror: [{to: c, sample: 100%}]" if mirrored else ""
    third = f"c: {{endpoints: [http://127.0.0.1:{origins['c']}]}}" if mirrored else ""
    port, admin = free_ports(2)
    file = folder / "bench.yaml"
    file.write_text(f"""\
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
workers: {workers}
state: sqlite:{folder}/crossfade.db
backends:
  a: {{endpoints: [http://127.0.0.1:{origins["a"]}]}}
  b: {{endpoints: [http://127.0.0.1:{origins["b"]}]}}
  {third}
routes:
  - name: bench
    match: {{prefix: /}}
    sticky: {{{sticky}}}
    split: {{a: 90%, b: 10%}}
    {mirror}
""")
    command = [sys.executable, "-P", "-m", "crossfade"]  # -P: as installed, and not from this directory
    if compiled:
        command = ["env", f"PYTHONPATH={COMPILED}", *command]
    return Contestant(
        "crossfade, compiled" if compiled else "crossfade",
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
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffers 16 16k;
    proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://$origin; }}
    location = /events {{ proxy_pass http://$origin; proxy_buffering off; }}
  }}
}}
""")
    command = [found("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(file)]
    return Contestant("nginx", printed_version([found("nginx"), "-v"]), port, command, [*command, "-t"])


def haproxy(folder: Path, origins: Origins) -> Contestant:
    (port,) = free_ports(1)
    file = folder / "haproxy.cfg"
    servers = f"""\
  balance hdr({HEADER})
  hash-type map-based djb2 avalanche
  http-reuse always
  server a 127.0.0.1:{origins["a"]} weight 90
  server b 127.0.0.1:{origins["b"]} weight 10
"""
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
  use_backend events if {{ path /events }}
  default_backend origins
backend origins
{servers}backend events
  option http-no-delay
{servers}""")
    command = [found("haproxy"), "-f", str(file)]
    return Contestant(
        "HAProxy", printed_version([found("haproxy"), "-v"]), port, [*command, "-db"], [*command, "-c"]
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


MAKERS: dict[str, Callable[[Path, Origins], Contestant]] = {
    "crossfade": crossfade,
    "compiled": partial(crossfade, compiled=True),
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "traefik": traefik,
    "caddy": caddy,
    "aiohttp": aiohttp,
}
# Programs that have to be there; the others are Python and always are.
PROGRAMS = ("nginx", "haproxy", "envoy", "traefik", "caddy")


def is_present(name: str) -> bool:
    if name == "compiled":
        return (COMPILED / "ok").exists()
    return name not in PROGRAMS or program(name) is not None
