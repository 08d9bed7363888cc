"""Versioned model servers with scikit-learn models, as backends for the proxy.

`data` draws customers, `train` fits three versions of a churn model, `registry` stores
them on disk, `server` serves one of them and `faults` injects faults on request.

Rule: this package and `crossfade` never import each other; they communicate only over HTTP.
"""
