"""Load tests: whether the laws hold under load (locustfile), and what the proxy costs (bench)."""
