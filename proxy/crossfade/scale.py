"""Numbers that the configuration shares with the data plane and the rollouts.

Rule: no imports, so that workers get the numbers without pydantic.
"""

WHOLE = 10_000  # a weight is an integer out of this many; a route has this many buckets
RECENT_KEPT = 512  # outcomes of a backend kept in order, for the fuse; a fuse cannot look further back
READINGS_KEPT = 20  # results of a Prometheus query that a check can look back on
