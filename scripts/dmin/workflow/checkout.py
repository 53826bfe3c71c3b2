"""How a Snakefile gets the library of its own checkout; run by path, since nothing is importable yet."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load_library(root: Path) -> ModuleType:
    """Load what rules ask of the library of a checkout, afresh, under a name of its own.

    Two checkouts used as modules of one workflow never see each other's library, nor one that is installed.
    """
    package = root / "scripts" / "dmin"
    name = f"dmin_{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    for loaded in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[loaded]
    spec = spec_from_file_location(name, package / "__init__.py", submodule_search_locations=[str(package)])
    if spec is None or spec.loader is None:
        raise ImportError(f"'{package}' is no package.")
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return import_module(f"{name}.workflow")
