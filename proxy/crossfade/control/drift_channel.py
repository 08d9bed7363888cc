"""What the controller and the observer tell each other about drift, as the seam has it."""

from __future__ import annotations

from crossfade.quality.watching import Seen, Watched


class DriftChannel:
    """`wanted`: by route, replaced as a whole; the seam sends it on. `seen`: since the controller last took it."""

    def __init__(self) -> None:
        self.wanted: dict[str, Watched] = {}
        self.seen = Seen()

    def take(self) -> Seen:
        taken, self.seen = self.seen, Seen()
        return taken
