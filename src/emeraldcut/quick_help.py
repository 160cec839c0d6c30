"""Help at once: the settings of a command are loaded without the packages that take seconds to import.

Settings stand in the modules that use them, which import astropy, numba and others. Help needs nothing of these, so
that while it is made their place is taken by objects that can be called, subclassed and calculated with to no effect.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

REAL = sys.stdlib_module_names | {"emeraldcut", "numpy"}
COMPILER = "emeraldcut.numerics.jit"  # extends numba


class _StandIn(ModuleType):
    """A package, or anything in one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:  # else indices without end would be tried
        return iter(())

    def __mro_entries__(self, bases: tuple) -> tuple:  # as a base class
        return ()

    __getitem__ = __or__ = __ror__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __call__


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        real = name.partition(".")[0] in REAL and name != COMPILER
        return None if real else ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def stand_ins() -> Iterator[None]:
    """Modules that are imported in this block are good for settings and help, and are forgotten after it."""
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] not in REAL or name.startswith("emeraldcut."):
                del sys.modules[name]
