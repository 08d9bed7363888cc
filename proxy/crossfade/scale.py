"""Numbers that the configuration shares with the data plane and the rollouts.

Rule: no imports, so that workers get the numbers without pydantic.
"""

WHOLE = 10_000  # a weight is an integer out of this many; a route has this many buckets
RECENT_KEPT = 512  # outcomes of a backend kept in order, for the fuse; a fuse cannot look further back
READINGS_KEPT = 20  # results of a Prometheus query that a check can look back on
# Metrics of labels: an answer against the truth, which comes as feedback. Those of scores need one.
OF_SCORES = ("log_loss", "brier", "auc", "mae")
OF_LABELS = ("accuracy", *OF_SCORES)
# The p99 that the clients of a route were promised, by the class that its `slo` names; seconds.
LATENCY_TARGETS = {"interactive": 0.05, "standard": 0.2, "relaxed": 0.5, "batch": 5.0}
LEAST_CHANCE = 1e-3  # a score nearer to 0 or 1 counts as this in the log loss, which so has a largest value
