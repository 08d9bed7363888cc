"""Values of options, read as the configuration reads its own."""

from __future__ import annotations

from crossfade.cli.exits import USAGE, CommandFailed


def seconds_of(option: str, given: str) -> float:
    """0 for an option that is not given. Raises CommandFailed."""
    from crossfade.config.problem import BadValue
    from crossfade.config.units import seconds

    if not given:
        return 0.0
    try:
        return seconds(given)
    except BadValue as error:
        raise CommandFailed(USAGE, f"{option} {given}: {error}") from None
