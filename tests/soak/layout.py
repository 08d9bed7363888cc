"""The routing file of a soak, and the edits that can be made to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ROUTES = {
    "/predict": ("churn",),
    "/strict": ("strict",),
    "/moving": ("moving", "moved"),
    "/plain": ("plain",),
}
PURE = frozenset({"/predict", "/moving", "/plain"})


@dataclass(frozen=True)
class Layout:
    """`moving`: the name of that route; "" while it is out of the file."""

    hold: int = 2
    errors: int = 30
    second: int = 20  # the weight of the second step
    strict: int = 60
    spare: bool = True  # the second endpoint of v4
    moving: str = "moving"
    renamed_from: str = ""

    def text(self, head: str, ports: Mapping[str, int]) -> str:
        return f"{head}backends:\n{self.backends(ports)}routes:\n{self.routes()}"

    def backends(self, ports: Mapping[str, int]) -> str:
        names = {
            "v2": ("v2a", "v2b"),
            "v3": ("v3",),
            "v4": ("v4a", "v4b") if self.spare else ("v4a",),
        }
        return "".join(
            f"  {name}:\n    endpoints: [{', '.join(f'http://127.0.0.1:{ports[each]}' for each in endpoints)}]\n"
            "    health: {path: /health, interval: 300ms, timeout: 5s}\n"
            "    timeout: {connect: 5s, first_byte: 6s, idle: 20s}\n"
            for name, endpoints in names.items()
        )

    def routes(self) -> str:
        steps = f"{{weight: 5%, hold: {self.hold}s}}, {{weight: {self.second}%, hold: 3s}}, {{weight: 50%, hold: 4s}}"
        churn = f"""\
  - name: churn
    match: {{path: /predict}}
    sticky: {{json: customer_id}}
    split: {{v2: 100%}}
    fallback: v2
    retry: {{pure: true}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{{mirror: 20%, hold: 1s}}, {steps}]
      min_requests: 5
      watch: 5s
      checks: [{{metric: error_rate, max: {self.errors}%}}]
"""
        strict = f"""\
  - name: strict
    match: {{path: /strict}}
    sticky: {{header: x-customer}}
    split: {{v2: {self.strict}%, v4: {100 - self.strict}%}}
"""
        return churn + strict + self.moving_route() + self.plain_route()

    def moving_route(self) -> str:
        renamed = f"    renamed_from: {self.renamed_from}\n" if self.renamed_from else ""
        return self.simple(self.moving, "/moving", renamed) if self.moving else ""

    def plain_route(self) -> str:
        return self.simple("plain", "/plain", "")

    @staticmethod
    def simple(name: str, path: str, more: str) -> str:
        return (
            f"  - name: {name}\n    match: {{path: {path}}}\n    sticky: {{header: x-customer}}\n"
            f"    split: {{v2: 50%, v4: 50%}}\n    retry: {{pure: true}}\n{more}"
        )
