"""Types of the config: audits of training sets, as sections of runs."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Consequence(TypedDict):
    """What a model does without the images that an audit flags; an audit without this section trains nothing."""

    steps: int | None
    queries: int
    timesteps: int
    draws: int
    seeds: int
    per_job: int
    seed: int


class Audit(TypedDict):
    """An audit of the training set (target audit)."""

    timesteps: int
    draws: int
    captions: int
    k: int
    fdr: float
    seed: int
    consequence: NotRequired[Consequence]
