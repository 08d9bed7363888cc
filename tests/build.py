"""Whether the data plane under test is compiled.

In the compiled data plane, calls are bound at build time, so its functions, methods and classes cannot be
patched. Tests that patch them run only with the interpreted one; all other tests run with both.
"""

from __future__ import annotations

import pytest

from crossfade.dataplane import exchange

COMPILED = not str(exchange.__file__).endswith(".py")
REASON = "functions of the compiled data plane cannot be patched"
interpreted = pytest.mark.skipif(COMPILED, reason=REASON)
