"""Defaults that a model is too small for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..runtime.attributed import widest
from .runs import Run


class Fitting:
    """Narrows the default cache_dim, and the default widths, of runs with fewer parameters; what a user wrote stays.

    Attributes:
        notices: what was narrowed, a sentence each.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.notices: list[str] = []

    def __call__(self, run: Run) -> Run:
        """Return a run whose default width is the largest power of two that its gradient is not shorter than."""
        given, width = self._given["runs"][run.name], run.gradients.settings["cache_dim"]
        if "cache_dim" in given.get("gradients", {}) or run.attributed is None or run.attributed >= width:
            return run
        fitted = widest(run.attributed)
        settings: Any = {**run.settings, "gradients": {**run.settings["gradients"], "cache_dim": fitted}}
        if "widths" not in given.get("influence", {}):
            widths = {fitted, *(v for v in run.settings["influence"]["widths"] if v <= fitted)}
            settings["influence"] = {**run.settings["influence"], "widths": sorted(widths)}
        self.notices.append(
            f"runs.{run.name}.gradients.cache_dim is {fitted}, because its default of {width} is above the "
            f"{run.attributed} attributed parameters of model {run.model.name}."
        )
        return replace(run, settings=settings)
