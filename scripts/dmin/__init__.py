"""Which training images shaped a generated image: data attribution for diffusion models."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import attribute as attribute
    from .opened_run import OpenedRun as OpenedRun
    from .opened_run import open_run as open_run

# OpenMP reads this once, when PyTorch is first imported. Threads that spin while they wait for each other cost up to
# eight times the CPU time where more of them run than there are cores: other jobs, other users, a busy virtual machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS does so when NumPy and SciPy are first imported, of which each has its own: 2^20 cycles, not 2^26.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")

# What Snakemake gives a job's script, and not the module of that name.
if hasattr(getattr(sys.modules.get("__main__"), "snakemake", None), "rule"):
    import_module(f"{__name__}.runtime.starting").begin_imports()

# What the package offers, by the file that it stands in, which is read when it is asked for.
_OFFERED = {"OpenedRun": "opened_run", "attribute": "api", "open_run": "opened_run"}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OFFERED[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OFFERED])
