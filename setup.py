"""Builds the compiled modules. Everything else stands in pyproject.toml.

SFTOOLS_DISABLE_EXT=1  install without compiled modules (they run as plain Python)
SFTOOLS_REQUIRE_EXT=1  fail where a module cannot be compiled, instead of leaving it plain
SFTOOLS_SANITIZE=1     compile with address and undefined-behaviour sanitizers (make asan)
"""

import os

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.extension import Extension

COMPILED = [
    "sftools/avro/decoder_cy.py",
    "sftools/avro/encoder_cy.py",
    "sftools/engine/engine_cy.py",
    "sftools/engine/entities_cy.py",
    "sftools/engine/flows_cy.py",
    "sftools/engine/paths_cy.py",
    "sftools/engine/sockets_cy.py",
    "sftools/engine/state_cy.py",
    "sftools/engine/threads_cy.py",
    "sftools/live/ring_cy.py",
    "sftools/reader/rows_cy.py",
    "sftools/render/columns_cy.py",
    "sftools/render/template_cy.py",
    "sftools/scap/events_cy.py",
]
JOBS = os.cpu_count() or 1


def extensions() -> list[Extension]:
    """The modules, translated to C under build/cython where a .py or .pxd is newer."""
    if os.environ.get("SFTOOLS_DISABLE_EXT"):
        return []
    from Cython.Build import cythonize

    flags = ["-O3", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code", "-Wno-sign-compare"]
    link: list[str] = []
    if os.environ.get("SFTOOLS_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
        flags = ["-O1", *sanitize]
        link = sanitize
    modules = [
        Extension(
            path.removesuffix(".py").replace("/", "."),
            [path],
            extra_compile_args=flags,
            extra_link_args=link,
            optional=not os.environ.get("SFTOOLS_REQUIRE_EXT"),
        )
        for path in COMPILED
    ]
    return cythonize(
        modules,
        build_dir="build/cython",
        nthreads=JOBS,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,
            "warn.unreachable": False,  # what only uncompiled code runs
        },
    )


class BuildExt(build_ext):
    """Compiles in parallel, and says in one line what a failed build means."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or JOBS

    def run(self) -> None:
        super().run()
        missing = [e.name for e in self.extensions if not os.path.exists(self.get_ext_fullpath(e.name))]
        if missing:
            print(f"sftools: not compiled, so slow: {', '.join(missing)} (install a C compiler: apt-get install gcc)")


if __name__ == "__main__":  # the processes that translate to C may import this file
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
