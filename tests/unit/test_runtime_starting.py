"""A job imports without collecting garbage, and does not read what it may never use."""

import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "scripts"


def run(code: str, cwd: Path) -> list[str]:
    lines = ("import sys", f"sys.path.insert(0, {str(LIBRARY)!r})", code)
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_job_collects_garbage_only_after_its_imports_and_never_what_they_left(tmp_path: Path) -> None:
    code = (
        "import gc\n"
        "from types import SimpleNamespace\n"
        "snakemake = SimpleNamespace(rule='score', log=['log'])\n"
        "from dmin.runtime.job import job\n"
        "print(gc.isenabled(), gc.get_freeze_count())\n"
        "with job(snakemake): print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    assert run(code, tmp_path) == ["False", "0", "True", "True"]


def test_program_that_uses_the_library_keeps_its_own_garbage_collection(tmp_path: Path) -> None:
    # A notebook that uses Snakemake as a module has its name too.
    code = (
        "import gc, snakemake\n"
        "from types import SimpleNamespace\n"
        "from dmin.runtime.job import job\n"
        "with job(SimpleNamespace(log=['log'])): print(gc.isenabled(), gc.get_freeze_count())\n"
        "import scipy.stats\n"
        "print('scipy.stats._stats_py' in sys.modules)"
    )
    assert run(code, tmp_path) == ["True", "0", "True"]


def test_what_scipy_copies_of_numpy_is_read_when_it_is_used(tmp_path: Path) -> None:
    code = (
        "from dmin.runtime.starting import begin_imports\n"
        "begin_imports()\n"
        "import numpy as np, scipy.special\n"
        "print('unittest' in sys.modules, 'numpy.f2py.crackfortran' in sys.modules)\n"
        "np.testing.assert_array_equal(scipy.special.expit(np.zeros(2)), 0.5)\n"
        "print('unittest' in sys.modules, np.f2py.run_main.__name__)"
    )
    assert run(code, tmp_path) == ["False", "False", "True", "run_main"]


def test_what_is_seldom_used_is_read_when_it_is_used(tmp_path: Path) -> None:
    code = (
        "from dmin.runtime.starting import begin_imports\n"
        "begin_imports()\n"
        "import inspect, scipy.stats\n"
        "import scipy.stats as again\n"
        "inspect.getmodule(print)\n"
        "print('scipy.stats._stats_py' in sys.modules, again is scipy.stats)\n"
        "print(scipy.stats.norm.cdf(0), 'scipy.stats._stats_py' in sys.modules)\n"
        "from scipy.stats import beta\n"
        "print(beta.ppf(0.5, 1, 1), scipy.stats.no_such_thing if hasattr(scipy.stats, 'no_such_thing') else None)"
    )
    assert run(code, tmp_path) == ["False", "True", "0.5", "True", "0.5", "None"]
