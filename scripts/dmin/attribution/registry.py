"""The attribution methods with their functions, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dmin.attribution.settings import relative_lambda
from dmin.catalogue.methods import METHODS as ENTRIES
from dmin.catalogue.methods import MethodEntry
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options

if TYPE_CHECKING:
    import numpy as np

    from dmin.attribution.gradient_rows import GradientRows
    from dmin.attribution.ridge_problem import RidgeProblem

    Ridge = Callable[[GradientRows, GradientRows], RidgeProblem]


class Method:
    """An attribution method: its entry in the catalogue, and what its file defines.

    ``scores(queries, train, options)`` gives float32 ``[queries, train]``, larger for more influence. Both sides are
    :class:`GradientRows` where it reads gradients, else :class:`SampleRows`; where it reads checkpoints, ``scores``
    takes a sequence of :class:`Checkpoint` alone, and where it reads scores, those of its parts. A method that computes
    on a device takes a :class:`Pace` as its fourth argument. A method that learns from subsets takes that of
    every id. Facts of what was learned may follow the scores in a tuple.
    A kernel method defines ``ridge(queries, train)`` instead, whose solution at ``relative_lambda`` its scores are.

    ``facts(options)`` of a file says what is recorded beside the scores; without it, the options of the entry are.
    """

    def __init__(self, entry: MethodEntry) -> None:
        module = import_module(entry.module)
        self.entry = entry
        self.name, self.inputs = entry.name, entry.inputs
        self.ridge: Ridge | None = getattr(module, "ridge", None)
        self.scores: Callable[..., Any] = _solution(self.ridge) if self.ridge else module.scores
        self._facts: Callable[[Options], dict[str, Any]] | None = getattr(module, "facts", None)

    def facts(self, options: Options) -> dict[str, Any]:
        """Return the options that the scores depend on, as they are recorded beside the scores."""
        if self._facts is not None:
            return self._facts(options)
        given = dict(options)
        return {name: given[name] for name in self.entry.options}

    def run(
        self, queries: Any, train: Any, options: Options, subsets: Mapping[str, str], pace: Pace | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the scores ``[queries, train]`` and everything recorded beside them.

        Args:
            subsets: subset of every query and training sample.
            pace: for a method that computes on a device.
        """
        facts = self.facts(options)
        further = [subsets] if self.entry.learns else [pace] if self.entry.device else []
        found = self.scores(queries, train, options, *further)
        values, learned = found if isinstance(found, tuple) else (found, {})
        return values, facts | learned


def _solution(ridge: Ridge) -> Callable[[GradientRows, GradientRows, Options], np.ndarray]:
    def scores(queries: GradientRows, train: GradientRows, options: Options) -> np.ndarray:
        penalty = relative_lambda(options)
        return ridge(queries, train).solve(penalty).astype("float32")

    return scores


class _Methods(Mapping[str, Method]):
    def __getitem__(self, name: str) -> Method:
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


@cache
def _load(name: str) -> Method:
    return Method(ENTRIES[name])


METHODS: Mapping[str, Method] = _Methods()


def find_method(name: str) -> Method:
    """Return the method called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in ENTRIES:
        raise UserError(f"Method '{name}' is unknown; choose one of {', '.join(sorted(ENTRIES))}.")
    return METHODS[name]
