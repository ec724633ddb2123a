"""Has scripts for the existing Python package run unchanged: `sysflow` and its modules are then those of sftools.

    import sftools.compat                       in a program, before it imports sysflow
    python -m sftools.compat script.py ARG...   a script as it is

Nothing is installed under that name. Without this import a real sysflow package is found as ever; with it, sftools'
modules are found instead.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from sftools import __version__
from sftools.errors import EXIT_USAGE

PACKAGE = "sysflow"
MODULES = ("reader", "formatter", "sfql", "objtypes", "utils")
"""The modules of the package; those of sftools have the same names."""


class _Finder(MetaPathFinder, Loader):
    """Finds the package and its modules, and loads what stands for them."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != PACKAGE or (module and module not in MODULES):
            return None
        return ModuleSpec(fullname, self, is_package=not module)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _, _, module = spec.name.partition(".")
        if not module:
            return _package()
        ours = importlib.import_module(f"sftools.{module}")
        # Of a module with a second name: what the import system is about to write into it is written into a copy.
        made = ModuleType(spec.name, ours.__doc__)
        made.__dict__.update({name: value for name, value in vars(ours).items() if name not in _OF_IMPORT})
        return made

    def exec_module(self, module: ModuleType) -> None:
        pass


_OF_IMPORT = frozenset({"__name__", "__spec__", "__loader__", "__package__", "__path__", "__file__", "__cached__"})


def _package() -> ModuleType:
    package = ModuleType(PACKAGE, __doc__)

    def load(name: str) -> object:
        if name in MODULES:
            return importlib.import_module(f"{PACKAGE}.{name}")
        raise AttributeError(f"module {PACKAGE!r} (of sftools.compat) has no attribute {name!r}")

    package.__dict__.update(__version__=__version__, __all__=list(MODULES), __getattr__=load)
    return package


def install() -> None:
    """Have `import sysflow` find sftools from now on. Done when this module is imported; once is enough."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def main(arguments: Sequence[str]) -> int:
    """Run a script with its arguments as Python does."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m sftools.compat SCRIPT [ARGUMENT...]", file=sys.stderr)
        return EXIT_USAGE
    if not os.path.isfile(arguments[0]):
        print(f"sftools.compat: {arguments[0]}: there is no such script", file=sys.stderr)
        return EXIT_USAGE
    sys.argv = list(arguments)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    from sftools import compat

    sys.exit(compat.main(sys.argv[1:]))
else:
    install()
