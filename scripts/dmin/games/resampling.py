"""How much contributions would differ with other coalitions and other training seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dmin.games.linear import least_squares
from dmin.games.outcomes import Outcomes
from dmin.games.registry import Estimator
from dmin.runtime.seeds import derive_seed


@dataclass(frozen=True)
class Noise:
    """Standard deviations that are due to seeds, of means over seeds; NaN where they are not known.

    Attributes:
        values: of the values of a law's coalitions.
        ends: of v(none) and v(all), which have a number of seeds of their own.
    """

    values: float
    ends: float


def seed_noise(values: np.ndarray) -> float:
    """Return the standard deviation of a behaviour between seeds, pooled over coalitions; NaN with a single seed.

    Args:
        values: ``[coalitions, seeds]``, NaN where a coalition has fewer seeds.
    """
    counts = np.isfinite(values).sum(axis=1)
    several = values[counts > 1]
    if not len(several):
        return float("nan")
    squares = np.square(several - np.nanmean(several, axis=1, keepdims=True))
    return float(np.sqrt(np.nansum(squares) / (counts[counts > 1] - 1).sum()))


def bootstrap_contributions(
    estimator: Estimator, outcomes: Outcomes, noise: Noise, resamples: int, seed: int
) -> np.ndarray:
    """Return the contributions ``[resamples, n]`` of resampled outcomes.

    Coalitions are drawn again with replacement; their values bring the noise of their seeds along. v(all) and v(none),
    and every value where no coalitions are drawn, get normal noise instead: as much as the means over their seeds have,
    or, with a single seed, as much as a linear fit leaves unexplained. Permutations are drawn again too. Deviations are
    widened for what the fit takes up of m coalitions or permutations, by sqrt(m / (m - n)) or sqrt(m / (m - 1)). Where
    all coalitions are known, nothing but noise is left to chance. NaN where an interval would need a second seed.
    """
    resampled = "seeds" if outcomes.law.name == "all" else estimator.entry.resamples
    if resampled == "seeds" and noise.values != noise.values:
        return np.full((resamples, outcomes.players), np.nan)
    if noise.values != noise.values:
        unexplained = _unexplained(outcomes)
        noise = Noise(unexplained, unexplained)
    choices = estimator.choices(outcomes)
    units, unknowns = outcomes.member.shape
    count, players = outcomes.member.shape
    found = np.empty((resamples, players))
    for number in range(resamples):
        generator = np.random.default_rng(derive_seed(seed, "contributions", estimator.entry.name, number))
        none, every = generator.normal((outcomes.none, outcomes.all), noise.ends)
        drawn = outcomes.between(float(none), float(every))
        if resampled != "coalitions":
            drawn = replace(drawn, values=generator.normal(outcomes.values, noise.values))
        if resampled == "coalitions":
            drawn = drawn.resample(np.asarray(generator.integers(0, count, size=count)))
        if resampled == "permutations" and estimator.parts is not None:
            parts = estimator.parts(drawn)
            units, unknowns = len(parts), 1
            found[number] = parts[generator.integers(0, len(parts), len(parts))].mean(axis=0)
        else:
            found[number] = estimator.contributions(drawn, *choices)
    if resampled != "seeds" and units > unknowns + 1:
        centre = estimator.contributions(outcomes, *choices)
        found = centre + (found - centre) * np.sqrt(units / (units - unknowns))
    return found


def _unexplained(outcomes: Outcomes) -> float:
    """Return the standard deviation that a linear fit leaves; 0 where it has no coalition to spare."""
    count, players = outcomes.member.shape
    spare = count - players - 1
    if spare < 1:
        return 0.0
    design = np.column_stack([np.ones(count), outcomes.member])
    rest = outcomes.values - design @ least_squares(design, outcomes.values, np.ones(count))
    return float(np.sqrt(np.square(rest).sum() / spare))
