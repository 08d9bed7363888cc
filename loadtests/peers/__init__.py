"""Servers of the benchmark: the origins behind all proxies, and a plain aiohttp proxy."""
