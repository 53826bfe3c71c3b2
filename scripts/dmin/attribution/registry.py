"""The attribution methods with their functions, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dmin.catalogue.methods import METHODS as ENTRIES
from dmin.catalogue.methods import MethodEntry
from dmin.runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from dmin.attribution.gradient_rows import GradientRows
    from dmin.attribution.ridge_problem import RidgeProblem

Settings = Mapping[str, Any]


class Method:
    """An attribution method: its entry in the catalogue, and what its file defines.

    ``scores(queries, train, settings)`` gives float32 ``[queries, train]``, larger for more influence. Both sides are
    :class:`GradientRows` where it reads gradients, else sample tables; where it reads checkpoints, a sequence of
    :class:`Checkpoint` stands for both. A method that learns takes the subset of every id as its fourth argument, and
    returns facts of what it learned after the scores.
    """

    def __init__(self, entry: MethodEntry) -> None:
        module = import_module(entry.module)
        self.entry = entry
        self.name, self.inputs, self.columns = entry.name, entry.inputs, entry.columns
        self.scores: Callable[..., Any] = module.scores
        self.ridge: Callable[[GradientRows, GradientRows], RidgeProblem] | None = getattr(module, "ridge", None)
        self._facts: Callable[[Settings], dict[str, Any]] | None = getattr(module, "facts", None)

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return the settings that the scores depend on, as they are recorded beside the scores."""
        return {} if self._facts is None else self._facts(settings)

    def run(
        self, queries: Any, train: Any, settings: Settings, subsets: Mapping[str, str]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the scores ``[queries, train]`` and everything recorded beside them."""
        facts = self.facts(settings)
        if not self.entry.learns:
            return self.scores(queries, train, settings), facts
        values, learned = self.scores(queries, train, settings, subsets)
        return values, facts | learned


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
