"""Is the data plane under test the compiled one? Its calls were bound when it was built.

Nothing can then be put in the place of its functions, methods and classes. Tests that do so run
interpreted only, and all others against both.
"""

from __future__ import annotations

import pytest

from crossfade.dataplane import exchange

COMPILED = not str(exchange.__file__).endswith(".py")
REASON = "the compiled data plane calls what it was built with, and nothing in its place"
interpreted = pytest.mark.skipif(COMPILED, reason=REASON)
