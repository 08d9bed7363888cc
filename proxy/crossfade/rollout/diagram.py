"""The state diagram of the rollout machine, generated from its table."""

from __future__ import annotations

from crossfade.rollout.machine import TABLE, Phase


def mermaid() -> str:
    """A Mermaid state diagram: one arrow for each pair of phases, labelled with the events of its transitions."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), transition in TABLE.items():
        for target in transition.targets:
            arrows.setdefault((phase, target), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Phase.PROGRESSING}", *lines])
