"""What all tests share: no test fails for being slow, since how slow a machine is says nothing of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
