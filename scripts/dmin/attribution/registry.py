"""The attribution methods: what each one reads and the function that scores. Importing this loads no method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dmin.attribution import settings as known
from dmin.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from dmin.attribution.checkpoints import Checkpoint
    from dmin.attribution.gradient_rows import GradientRows
    from dmin.attribution.ridge_problem import RidgeProblem

Settings = Mapping[str, Any]


def _no_facts(settings: Settings) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes:
        name: its name in the config, in files and in tables.
        inputs: ``gradients`` of one cache, those of several ``checkpoints``, the tables of ``samples``, or ``nothing``
            but their ids.
        scores: ``scores(queries, train, settings)`` gives float32 ``[queries, train]``, larger for more influence.
            Both sides are :class:`GradientRows` for ``gradients``, else sample tables; with ``checkpoints``, a
            sequence of :class:`Checkpoint` stands for both.
        columns: what a table must hold beside ``id`` and ``subset``.
        facts: the settings that the scores depend on, as they are recorded beside the scores.
        needs_subsets: it learns from the subsets of queries and samples: ``scores`` takes the subset of every id as
            its fourth argument, and returns facts of what it learned after the scores.
        ridge: ``ridge(queries, train)`` of a kernel method, from which scores of any lambda follow.
    """

    name: str
    inputs: Literal["nothing", "samples", "gradients", "checkpoints"]
    scores: Callable[..., Any]
    columns: tuple[str, ...] = ()
    facts: Callable[[Settings], dict[str, Any]] = _no_facts
    needs_subsets: bool = False
    ridge: Callable[[GradientRows, GradientRows], RidgeProblem] | None = None

    def run(
        self, queries: Any, train: Any, settings: Settings, subsets: Mapping[str, str]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the scores ``[queries, train]`` and everything recorded beside them."""
        facts = self.facts(settings)
        if not self.needs_subsets:
            return self.scores(queries, train, settings), facts
        values, learned = self.scores(queries, train, settings, subsets)
        return values, facts | learned


# Imports stand inside the functions so that the registry is light, and are spelled out so that whoever digests the
# code of a job finds every module that its scores depend on.


def _dmin(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dmin import scores

    return scores(queries, train, settings)


def _dmin_no_norm(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dmin_no_norm import scores

    return scores(queries, train, settings)


def _dmin_renorm(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dmin_renorm import scores

    return scores(queries, train, settings)


def _dmin_centred(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dmin_centred import scores

    return scores(queries, train, settings)


def _dmin_kernel(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dmin_kernel import scores

    return scores(queries, train, settings)


def _grad_dot(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.grad_dot import scores

    return scores(queries, train, settings)


def _grad_cos(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.grad_cos import scores

    return scores(queries, train, settings)


def _tracin_final(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.tracin_final import scores

    return scores(queries, train, settings)


def _retrac_final(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.retrac_final import scores

    return scores(queries, train, settings)


def _trak(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.trak import scores

    return scores(queries, train, settings)


def _relative_if(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.relative_if import scores

    return scores(queries, train, settings)


def _renormalised_if(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.renormalised_if import scores

    return scores(queries, train, settings)


def _dmin_weighted(
    queries: GradientRows, train: GradientRows, settings: Settings, subsets: Mapping[str, str]
) -> tuple[np.ndarray, dict[str, Any]]:
    from dmin.attribution.dmin_weighted import scores

    return scores(queries, train, settings, subsets)


def _dtrak(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dtrak import scores

    return scores(queries, train, settings)


def _dtrak_unit(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.dtrak_unit import scores

    return scores(queries, train, settings)


def _journey_trak(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.journey_trak import scores

    return scores(queries, train, settings)


def _datainf(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.datainf import scores

    return scores(queries, train, settings)


def _lissa_gram(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.lissa_gram import scores

    return scores(queries, train, settings)


def _tracin(checkpoints: Sequence[Checkpoint], settings: Settings) -> np.ndarray:
    from dmin.attribution.tracin import scores

    return scores(checkpoints, settings)


def _retrac(checkpoints: Sequence[Checkpoint], settings: Settings) -> np.ndarray:
    from dmin.attribution.retrac import scores

    return scores(checkpoints, settings)


def _lissa(queries: GradientRows, train: GradientRows, settings: Settings) -> np.ndarray:
    from dmin.attribution.lissa import scores

    return scores(queries, train, settings)


def _random(queries: pd.DataFrame, train: pd.DataFrame, settings: Settings) -> np.ndarray:
    from dmin.attribution.random_scores import scores

    return scores(queries, train, settings)


def _pixels(queries: pd.DataFrame, train: pd.DataFrame, settings: Settings) -> np.ndarray:
    from dmin.attribution.pixels import scores

    return scores(queries, train, settings)


def _ssim(queries: pd.DataFrame, train: pd.DataFrame, settings: Settings) -> np.ndarray:
    from dmin.attribution.ssim import scores

    return scores(queries, train, settings)


def _text(queries: pd.DataFrame, train: pd.DataFrame, settings: Settings) -> np.ndarray:
    from dmin.attribution.text import scores

    return scores(queries, train, settings)


def _clip(queries: pd.DataFrame, train: pd.DataFrame, settings: Settings) -> np.ndarray:
    from dmin.attribution.clip import scores

    return scores(queries, train, settings)


def _mean_ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    from dmin.attribution.trak import mean_problem

    return mean_problem(queries, train)


def _unit_ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    from dmin.attribution.dmin_kernel import unit_problem

    return unit_problem(queries, train)


def _journey_ridge(queries: GradientRows, train: GradientRows) -> RidgeProblem:
    from dmin.attribution.journey_trak import summed_problem

    return summed_problem(queries, train)


def _ridge_facts(settings: Settings) -> dict[str, Any]:
    return {"relative_lambda": known.relative_lambda(settings)}


def _weighted_facts(settings: Settings) -> dict[str, Any]:
    return {"seed": known.method_seed(settings)}


def _damping_facts(settings: Settings) -> dict[str, Any]:
    return {"damping": known.damping(settings)}


def _lissa_gram_facts(settings: Settings) -> dict[str, Any]:
    alpha = known.lissa_alpha(settings)
    steps = {"lissa_iterations": known.lissa_iterations(settings), "lissa_alpha": "auto" if alpha is None else alpha}
    return _damping_facts(settings) | steps


def _random_facts(settings: Settings) -> dict[str, Any]:
    return {"seed": known.method_seed(settings)}


def _final_facts(settings: Settings) -> dict[str, Any]:
    value = known.train_timestep(settings)
    return {"train_timestep": value} | ({"seed": known.method_seed(settings)} if value == "one" else {})


def _clip_facts(settings: Settings) -> dict[str, Any]:
    return {"encoder": known.encoder_name(settings)}


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("random", "nothing", _random, facts=_random_facts),
        Method("pixels", "samples", _pixels, ("image",)),
        Method("ssim", "samples", _ssim, ("image",)),
        Method("clip", "samples", _clip, ("image",), _clip_facts),
        Method("text", "samples", _text, ("prompt",)),
        Method("dmin", "gradients", _dmin),
        Method("dmin_no_norm", "gradients", _dmin_no_norm),
        Method("dmin_renorm", "gradients", _dmin_renorm),
        Method("dmin_centred", "gradients", _dmin_centred),
        Method("dmin_kernel", "gradients", _dmin_kernel, facts=_ridge_facts, ridge=_unit_ridge),
        Method("grad_dot", "gradients", _grad_dot),
        Method("grad_cos", "gradients", _grad_cos),
        Method("tracin_final", "gradients", _tracin_final, facts=_final_facts),
        Method("retrac_final", "gradients", _retrac_final, facts=_final_facts),
        Method("tracin", "checkpoints", _tracin),
        Method("retrac", "checkpoints", _retrac),
        Method("trak", "gradients", _trak, facts=_ridge_facts, ridge=_mean_ridge),
        Method("relative_if", "gradients", _relative_if, facts=_ridge_facts),
        Method("renormalised_if", "gradients", _renormalised_if, facts=_ridge_facts),
        Method("dmin_weighted", "gradients", _dmin_weighted, facts=_weighted_facts, needs_subsets=True),
        Method("dtrak", "gradients", _dtrak, facts=_ridge_facts, ridge=_mean_ridge),
        Method("dtrak_unit", "gradients", _dtrak_unit, facts=_ridge_facts, ridge=_unit_ridge),
        Method("datainf", "gradients", _datainf, facts=_damping_facts),
        Method("lissa_gram", "gradients", _lissa_gram, facts=_lissa_gram_facts),
        Method("lissa", "gradients", _lissa),
        Method("journey_trak", "gradients", _journey_trak, facts=_ridge_facts, ridge=_journey_ridge),
    )
}


def find_method(name: str) -> Method:
    """Return the method called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"Method '{name}' is unknown; choose one of {', '.join(sorted(METHODS))}.")
    return METHODS[name]
