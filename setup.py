"""Builds the package and compiles the modules on the path of each request, if possible.

`crossfade` is plain Python and needs no compilation. mypyc compiles the modules listed here to C from the same
sources. They share one library and call each other directly, so all of them are compiled or none.
CROSSFADE_COMPILE=no skips the compilation; CROSSFADE_COMPILE=require makes the build fail if it is not
possible. Otherwise a failure is one line on stderr, and the package runs slower.

In compiled code, functions, methods, classes and Final names are bound at build time. Other names of a module
are looked up at run time and can be patched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext, customize_compiler, new_compiler

COMPILED = (
    "crossfade.dataplane.access_log",
    "crossfade.dataplane.awaiting",
    "crossfade.dataplane.backlog",
    "crossfade.dataplane.cached",
    "crossfade.dataplane.capacity",
    "crossfade.dataplane.cell_counts",
    "crossfade.dataplane.client",
    "crossfade.dataplane.comparison",
    "crossfade.dataplane.content",
    "crossfade.dataplane.downstream",
    "crossfade.dataplane.endpoint",
    "crossfade.dataplane.exchange",
    "crossfade.dataplane.flow",
    "crossfade.dataplane.idle",
    "crossfade.dataplane.inspection",
    "crossfade.dataplane.kept_answer",
    "crossfade.dataplane.kept_body",
    "crossfade.dataplane.least_rate",
    "crossfade.dataplane.listener",
    "crossfade.dataplane.log_line",
    "crossfade.dataplane.logged_rows",
    "crossfade.dataplane.lookup",
    "crossfade.dataplane.mirror",
    "crossfade.dataplane.origin",
    "crossfade.dataplane.outcome",
    "crossfade.dataplane.own_answers",
    "crossfade.dataplane.owner",
    "crossfade.dataplane.pace",
    "crossfade.dataplane.panel",
    "crossfade.dataplane.plane",
    "crossfade.dataplane.recorder",
    "crossfade.dataplane.recording",
    "crossfade.dataplane.relay",
    "crossfade.dataplane.response_writer",
    "crossfade.dataplane.room",
    "crossfade.dataplane.run",
    "crossfade.dataplane.runtime",
    "crossfade.dataplane.sampling",
    "crossfade.dataplane.state",
    "crossfade.dataplane.taking",
    "crossfade.dataplane.tally",
    "crossfade.dataplane.tracing",
    "crossfade.dataplane.tunnel",
    "crossfade.dataplane.turn",
    "crossfade.dataplane.upstream",
    "crossfade.dataplane.waiting",
    "crossfade.dataplane.websocket",
    "crossfade.dataplane.writing",
    "crossfade.http1.framing",
    "crossfade.http1.freshness",
    "crossfade.http1.headers",
    "crossfade.http1.lines",
    "crossfade.http1.memory",
    "crossfade.http1.trace_context",
    "crossfade.http1.request_head",
    "crossfade.http1.response_head",
    "crossfade.paths",
    "crossfade.routing.balance",
    "crossfade.routing.caching",
    "crossfade.routing.health",
    "crossfade.routing.json_fields",
    "crossfade.routing.json_grammar",
    "crossfade.routing.json_path",
    "crossfade.routing.key",
    "crossfade.routing.match",
    "crossfade.routing.own_answers",
    "crossfade.routing.path_values",
    "crossfade.routing.places",
    "crossfade.routing.rate",
    "crossfade.routing.rewriting",
    "crossfade.routing.router",
    "crossfade.routing.visitor",
    "crossfade.shared_memory",
    "crossfade.shared_rates",
)
GROUP = "crossfade"
LIBRARY = f"{GROUP}__mypyc"  # mypyc's name for the shared library

# mypy checks the code in development. In a build, imported packages may be missing, so no errors for them.
OPTIONS = (
    "--config-file=",
    "--cache-dir=build/mypy",
    "--ignore-missing-imports",
    "--follow-imports=silent",
)

WISH = os.environ.get("CROSSFADE_COMPILE", "")


class Compile(build_ext):
    """Compiles all modules or none."""

    def run(self) -> None:
        # Python imports a library next to the sources instead of them, even if it is older.
        if (self.inplace or self.editable_mode) and WISH != "require":
            self.extensions = []
            return
        try:
            self.try_compiler()
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

    def try_compiler(self) -> None:
        """Where there is no compiler, or no headers of Python, nobody waits half a minute for the translation."""
        compiler = new_compiler()
        customize_compiler(compiler)
        with TemporaryDirectory() as folder:
            source = Path(folder, "nothing.c")
            source.write_text("#include <Python.h>\n")
            compiler.compile([str(source)], output_dir=folder, include_dirs=self.include_dirs)

    def translate(self) -> None:
        """Translates to C. Only for a build: setuptools also runs this file for other commands."""
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
