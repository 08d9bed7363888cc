"""Whether answers of one side are lost more often than the other's, so that what is left cannot be compared.

Rule (law 17): what one side does not say is never a gap. Lost answers are no random part of all answers: the ones that
a model cannot score, or answers too slowly, are the unusual ones. So a comparison of the rest is VOID, with the number,
once it is proven that one side loses more than MARGIN more. Equal losses (a proxy without room) change no comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.rollout.evidence import side_totals
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import percent
from crossfade.rollout.verdict_rule import Share
from crossfade.stats.differences import log_e_increase
from crossfade.stats.pairs import Pairs
from crossfade.stats.sequential import SplitCounts, bound, log_e_worse

MARGIN = 0.01  # of the answers
_ALPHA = 0.001  # of a wrong VOID, which only holds; not part of the rollout's alpha


def lost_scores(strata: Sequence[Stratum]) -> str:
    """Why scores of these strata cannot be compared; empty if they can."""
    sides = side_totals(strata)
    here, rest = (Share(cell.scoreless, cell.answers) for cell in sides)
    counts = [
        SplitCounts(
            s.share,
            s.challenger.scoreless,
            s.champion.scoreless,
            s.challenger.answers,
            s.champion.answers,
        )
        for s in strata
    ]
    other_way = [SplitCounts(1 - c.share, c.rest, c.here, c.rest_n, c.n) for c in counts]
    if max(log_e_increase(counts, MARGIN), log_e_increase(other_way, MARGIN)) < bound(_ALPHA):
        return ""
    return (
        f"{percent(here.value)} of the challenger's {here.n} answers have no score that can be read, and "
        f"{percent(rest.value)} of the champion's {rest.n}; scores are compared only where both lose alike"
    )


def lost_pairs(pairs: Pairs) -> str:
    """Why these pairs say too little of the decisions; empty if they do not."""
    n = pairs.n + pairs.lost + pairs.champion_lost
    more = abs(pairs.lost - pairs.champion_lost)
    sides = sorted((pairs.lost, pairs.champion_lost))
    # In a pair that lost one answer, either side is as likely to be the one: a coin of 1/2.
    if more <= MARGIN * n or log_e_worse([SplitCounts(0.5, sides[1], sides[0])], 1.0) < bound(_ALPHA):
        return ""
    return (
        f"{pairs.lost} of {n} pairs lost the challenger's answer, and {pairs.champion_lost} the champion's "
        f"(too large, too late, or no room for the copy)"
    )
