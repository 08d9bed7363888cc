"""How far the live values of a field are from the profile: a log e-value to act by, and numbers to look at.

Rule: a field has drifted if a cumulative share, a category, the missing values or the values of another type have a share that
is more than the tolerance away from the profile's; the e-value is the mean over these, and 1 without values. A field without
drift has a mean e-value of at most 1 in each window (`stats.drift`).
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import msgspec
from msgspec.structs import replace

from crossfade.quality.profile import CategoryField, Field, NumberField, TextField
from crossfade.quality.sketch import FieldCounts
from crossfade.stats.divergence import ks_distance, stability_index
from crossfade.stats.drift import (
    away_logs,
    index_quantile,
    log_e_away,
    log_e_categories,
    log_e_shift,
    sampling_error,
    two_sample_chi_square,
    wasserstein,
)
from crossfade.stats.sequential import Logs, log_mean_exp

REFERENCE_ALPHA = (
    0.0005  # with this probability a profile's shares are farther from the truth than is allowed for
)
_DECILES = 10


class FieldDrift(msgspec.Struct, frozen=True, omit_defaults=True):
    """`distance`: the largest difference of shares: Kolmogorov-Smirnov for numbers. `psi_usual`: what PSI is without any change,
    at its 95 % quantile. `chi_square_p`: at one look. Shares are out of all rows.
    """

    n: int
    log_e: float
    distance: float
    missing: float
    missing_before: float
    other: float
    other_before: float
    psi: float | None = None
    psi_usual: float | None = None
    wasserstein: float | None = None
    chi_square_p: float | None = None
    unseen: dict[str, int] = {}

    @property
    def farthest(self) -> float:
        """The largest distance of any kind."""
        return max(
            self.distance, abs(self.missing - self.missing_before), abs(self.other - self.other_before)
        )


def field_drift(field: Field, live: FieldCounts, tolerance: float) -> FieldDrift:
    """`tolerance`: δ, in 0 to 1."""
    rows, before = live.n + live.missing + live.other, field.n + field.missing + field.other
    missing, other = _share(live.missing, rows), _share(live.other, rows)
    missing_before, other_before = _share(field.missing, before), _share(field.other, before)
    allowed = tolerance + sampling_error(before, REFERENCE_ALPHA)
    logs = [
        _log_e_values(field, live, tolerance),
        log_e_away(live.missing, rows, missing_before, allowed),
        log_e_away(live.other, rows, other_before, allowed),
    ]
    shown = FieldDrift(
        live.n,
        log_mean_exp(logs),
        0.0,
        missing,
        missing_before,
        other,
        other_before,
        unseen=dict(live.unseen),
    )
    return _with_numbers(shown, field, live)


def _log_e_values(field: Field, live: FieldCounts, tolerance: float) -> float:
    allowed = tolerance + sampling_error(field.n, REFERENCE_ALPHA)
    match field:
        case NumberField():
            picked = decile_cuts(field)
            bins = merged_bins(live.counts, picked)
            below = list(accumulate(field.counts))
            return log_e_shift(bins, [below[i] / max(field.n, 1) for i in picked], allowed)
        case CategoryField():
            shares = [count / max(field.n, 1) for count in category_counts(field)]
            return log_e_categories(live.counts, shares, allowed)
        case TextField():
            return 0.0


def detector_logs(field: Field, live: FieldCounts, tolerance: float) -> list[Logs]:
    """Log e-values for a detector: of values, missing ones and other types, each with all its alternatives."""
    rows, before = live.n + live.missing + live.other, field.n + field.missing + field.other
    allowed = tolerance + sampling_error(before, REFERENCE_ALPHA)
    groups = [
        away_logs(live.missing, rows, _share(field.missing, before), allowed),
        away_logs(live.other, rows, _share(field.other, before), allowed),
    ]
    shares: list[tuple[int, float]] = []
    if isinstance(field, NumberField):
        picked, below = decile_cuts(field), list(accumulate(field.counts))
        bins = accumulate(merged_bins(live.counts, picked))
        shares = [(x, below[i] / max(field.n, 1)) for x, i in zip(bins, picked, strict=False)]
    elif isinstance(field, CategoryField):
        known = category_counts(field)
        shares = [(x, count / max(field.n, 1)) for x, count in zip(live.counts, known, strict=True)]
    allowed = tolerance + sampling_error(field.n, REFERENCE_ALPHA)
    values = [log_e for x, share in shares for log_e in away_logs(x, live.n, share, allowed)]
    return [values or [0.0], *groups]


def decile_cuts(field: NumberField) -> list[int]:
    """The indexes of the cuts whose levels are nearest to 10 %, 20 % … 90 %, each once."""
    levels = [x / max(field.n, 1) for x in accumulate(field.counts[:-1])]
    if not levels:
        return []
    wanted = (k / _DECILES for k in range(1, _DECILES))
    return sorted({min(range(len(levels)), key=lambda i: abs(levels[i] - level)) for level in wanted})


def merged_bins(counts: list[int], cuts: list[int]) -> list[int]:
    """Counts between the cuts at these indexes."""
    edges = [0, *(cut + 1 for cut in cuts), len(counts)]
    return [sum(counts[a:b]) for a, b in pairwise(edges)]


def category_counts(field: CategoryField) -> list[int]:
    """In the order of a sketch's counts."""
    return [*field.counts.values(), field.rest]


def _with_numbers(shown: FieldDrift, field: Field, live: FieldCounts) -> FieldDrift:
    numbers: dict[str, float] = {}
    if isinstance(field, NumberField):
        picked = decile_cuts(field)
        ours, theirs = merged_bins(live.counts, picked), merged_bins(list(field.counts), picked)
        numbers["distance"] = ks_distance(live.counts, field.counts)
        numbers["wasserstein"] = wasserstein(field.cuts, live.counts, field.counts)
    elif isinstance(field, CategoryField):
        ours, theirs = live.counts, category_counts(field)
        apart = [abs(_share(x, live.n) - _share(y, field.n)) for x, y in zip(ours, theirs, strict=True)]
        numbers["distance"] = max(apart) if live.n and field.n else 0.0
        numbers["chi_square_p"] = two_sample_chi_square(ours, theirs)[1]
    else:
        return shown
    if live.n and field.n:
        numbers["psi"] = stability_index(ours, theirs)
        numbers["psi_usual"] = index_quantile(live.n, field.n, len(ours))
    return replace(shown, **numbers)


def _share(x: int, n: int) -> float:
    return x / n if n else 0.0
