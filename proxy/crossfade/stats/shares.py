"""Whether counts match known shares (sample ratio mismatch): a multinomial test, valid at every look.

Dirichlet mixture (Lindon and Malek, NeurIPS 2022; Optimizely's ssrm). It needs counts only, so merging is addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, lgamma, log

_CONCENTRATION = 100.0  # of the prior around the expected shares


def log_e_shares(counts: Sequence[int], shares: Sequence[float], prior: Sequence[float] = ()) -> float:
    """Log e-value against "each independent trial falls into category i with probability shares[i]".

    lnΓ(Σa) − lnΓ(Σa+n) + Σ[lnΓ(a_i+x_i) − lnΓ(a_i)] − Σ x_i ln θ_i; `prior` is a, by default 100·θ. Shares are
    above 0 and add up to 1. Add up the values of periods with different shares.
    Raises ValueError if the lengths differ.
    """
    a = prior or [_CONCENTRATION * share for share in shares]
    out = lgamma(fsum(a)) - lgamma(fsum((*a, *counts)))
    for x, weight, share in zip(counts, a, shares, strict=True):
        out += lgamma(weight + x) - lgamma(weight) - x * log(share)
    return out
