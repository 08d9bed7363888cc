"""Proxies whose binary comes in a Python package (extra `bench`): Envoy, Traefik, Caddy.

Traefik and Caddy can split by weight or be sticky by a header, but not both. Here they split each request by
weight, which is less work.
"""

from __future__ import annotations

from pathlib import Path

from loadtests.measured_proxy import MeasuredProxy, Origins, path_of, printed_version
from loadtests.ports import free_ports
from loadtests.work import HEADER


def envoy(folder: Path, origins: Origins) -> MeasuredProxy:
    (port,) = free_ports(1)
    file = folder / "envoy.yaml"
    api = "type.googleapis.com/envoy.extensions.filters"
    file.write_text(f"""\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {api}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {api}.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: origins, hash_policy: [{{header: {{header_name: {HEADER}}}}}]}}
  clusters:
  - name: origins
    connect_timeout: 1s
    lb_policy: MAGLEV
    load_assignment:
      cluster_name: origins
      endpoints:
      - lb_endpoints:
        - {_weighted(origins["a"], 90)}
        - {_weighted(origins["b"], 10)}
""")
    command = [path_of("envoy"), "-c", str(file), "--log-level", "error", "--concurrency", "1"]
    check = [*command, "--mode", "validate"]
    version = printed_version([path_of("envoy"), "--version"])
    return MeasuredProxy("Envoy", version, port, [*command, "--disable-hot-restart"], check)


def _weighted(port: int, weight: int) -> str:
    address = f"{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"
    return f"{{endpoint: {{address: {address}}}, load_balancing_weight: {weight}}}"


def traefik(folder: Path, origins: Origins) -> MeasuredProxy:
    (port,) = free_ports(1)
    file = folder / "split.yaml"
    file.write_text(f"""\
http:
  routers:
    bench: {{rule: "PathPrefix(`/`)", entryPoints: [bench], service: split}}
  services:
    split: {{weighted: {{services: [{{name: a, weight: 90}}, {{name: b, weight: 10}}]}}}}
    a: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origins["a"]}"}}]}}}}
    b: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origins["b"]}"}}]}}}}
""")
    options = [
        f"--entryPoints.bench.address=127.0.0.1:{port}",
        f"--providers.file.filename={file}",
        "--providers.file.watch=false",
        "--log.level=ERROR",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]
    version = printed_version([path_of("traefik"), "version"])
    return MeasuredProxy(
        "Traefik", version, port, ["env", "GOMAXPROCS=1", path_of("traefik"), *options], [], False
    )


def caddy(folder: Path, origins: Origins) -> MeasuredProxy:
    (port,) = free_ports(1)
    file = folder / "Caddyfile"
    file.write_text(f"""\
{{
\tadmin off
\tauto_https off
\tpersist_config off
}}
http://:{port} {{
\tbind 127.0.0.1
\treverse_proxy 127.0.0.1:{origins["a"]} 127.0.0.1:{origins["b"]} {{
\t\tlb_policy weighted_round_robin 90 10
\t\ttransport http {{
\t\t\tkeepalive_idle_conns_per_host 256
\t\t}}
\t}}
}}
""")
    options = ["--config", str(file), "--adapter", "caddyfile"]
    environment = ["env", "GOMAXPROCS=1", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}"]
    version = printed_version([path_of("caddy"), "version"])
    command = [*environment, path_of("caddy")]
    return MeasuredProxy(
        "Caddy", version, port, [*command, "run", *options], [*command, "validate", *options], False
    )
