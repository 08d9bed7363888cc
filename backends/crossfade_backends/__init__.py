"""Versioned model servers with real scikit-learn models: something to split traffic between.

`data` draws customers, `train` fits three versions of a churn model, `registry` keeps
them on disk, `server` serves one of them and `faults` makes it misbehave on request.

Rule: this package never imports `proxy`, nor the other way round; they meet over HTTP only.
"""
