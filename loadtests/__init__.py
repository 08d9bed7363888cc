"""Load tests: do the laws hold under load (locustfile), and how much CPU and memory does the proxy use (bench)?"""
