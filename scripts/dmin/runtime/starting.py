"""What a job's process does differently while it imports, which is most of what a short job does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# diffusers imports the first with its schedulers, for beta schedules alone; SciPy copies all names of NumPy, these two
# among them.
SELDOM_USED = frozenset({"scipy.stats", "numpy.f2py", "numpy.testing"})


class _Unread(ModuleType):
    """A module that is read when something in it is asked for.

    ``importlib.util.LazyLoader`` reads it too where a second module imports it, which diffusers' schedulers do.
    """

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        self.__class__ = ModuleType  # type: ignore[assignment]  # whose attributes are what its file defines
        spec.loader.loader.exec_module(self)  # type: ignore[union-attr]
        return getattr(self, name)


class _WhenUsed(Loader):
    """Leaves a module unread, for ``loader`` to read it later."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Unread


class _SeldomUsed(MetaPathFinder):
    """Finds the modules of ``SELDOM_USED``, and leaves them unread."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in SELDOM_USED else None
        if spec is not None and spec.loader is not None:
            spec.loader = _WhenUsed(spec.loader)
        return spec


def begin_imports() -> None:
    """Collect no garbage until ``end_imports``: modules make many objects, and leave next to none of them behind."""
    gc.disable()
    sys.meta_path.insert(0, _SeldomUsed())


def end_imports() -> None:
    """Collect garbage again, but for what was imported: it stays until the process ends, and need not be walked then.

    Where ``begin_imports`` was not called nothing changes.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
