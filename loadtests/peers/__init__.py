"""What stands beside the proxy in the benchmark: the origin behind all, and a plain aiohttp proxy."""
