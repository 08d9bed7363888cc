"""Builds the package, and compiles what each request runs through where that is possible.

`crossfade` is plain Python, and runs as it stands. mypyc makes C of the modules named here, from the same
sources; they share one library and call each other directly, so they are compiled all together or not at
all. CROSSFADE_COMPILE=no leaves them as they are, CROSSFADE_COMPILE=require fails where they cannot be
compiled; without either, a failure costs a line on stderr and the speed.

Compiled code is bound to its functions, methods, classes and whatever is Final. All other names of a module
it looks up as ever, so that these can be patched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import shorten

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "crossfade.dataplane.client",
    "crossfade.dataplane.downstream",
    "crossfade.dataplane.endpoint",
    "crossfade.dataplane.exchange",
    "crossfade.dataplane.flow",
    "crossfade.dataplane.inspection",
    "crossfade.dataplane.listener",
    "crossfade.dataplane.mirror",
    "crossfade.dataplane.observe",
    "crossfade.dataplane.plane",
    "crossfade.dataplane.recorder",
    "crossfade.dataplane.relay",
    "crossfade.dataplane.runtime",
    "crossfade.dataplane.state",
    "crossfade.dataplane.tunnel",
    "crossfade.dataplane.upstream",
    "crossfade.http1.framing",
    "crossfade.http1.head",
    "crossfade.http1.headers",
    "crossfade.http1.lines",
    "crossfade.http1.memory",
    "crossfade.routing.balance",
    "crossfade.routing.health",
    "crossfade.routing.key",
    "crossfade.routing.match",
    "crossfade.routing.rate",
    "crossfade.routing.router",
)
GROUP = "crossfade"
LIBRARY = f"{GROUP}__mypyc"  # mypyc's name for what they share

# What mypy says of the code is said in development; here the packages that ours imports may be absent.
OPTIONS = (
    "--config-file=",
    "--cache-dir=build/mypy",
    "--ignore-missing-imports",
    "--follow-imports=silent",
)

WISH = os.environ.get("CROSSFADE_COMPILE", "")


class Compile(build_ext):
    """All of them or none."""

    def run(self) -> None:
        # What lies beside sources that are edited is imported in their place, however old it is.
        if (self.inplace or self.editable_mode) and WISH != "require":
            self.extensions = []
            return
        try:
            self.translate()
            super().run()
        except (Exception, SystemExit) as error:  # no mypy, no compiler, no headers
            if WISH == "require":
                raise
            why = shorten(str(error), 160, placeholder=" …")
            print(f"crossfade: not compiled, and slower for it: {why}", file=sys.stderr)
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []

    def translate(self) -> None:
        """To C, and not before a build: this file is run for other errands too."""
        from mypyc.build import mypycify

        sources = [f"proxy/{name.replace('.', '/')}.py" for name in COMPILED]
        translated = mypycify([*OPTIONS, *sources], opt_level="3", debug_level="0", group_name=GROUP)
        found = {extension.name: extension for extension in translated}
        for extension in self.extensions:
            vars(extension).update(vars(found[extension.name]))


def extensions() -> list[Extension]:
    if WISH == "no" or sys.implementation.name != "cpython":
        return []
    return [Extension(name, sources=[]) for name in (LIBRARY, *COMPILED)]


setup(ext_modules=extensions(), cmdclass={"build_ext": Compile})
