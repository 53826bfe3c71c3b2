"""Settings of games, as the schema has them once defaults are filled in."""

from __future__ import annotations

from typing import Literal, TypedDict

Trainer = Literal["retrain", "unlearn", "sparsified"]
Law = Literal["datamodel", "uniform", "shapley", "leave_one_out", "add_one_in", "permutation"]


class Players(TypedDict):
    """Who the contributors are; every training sample belongs to one."""

    by: Literal["sample", "subset", "label", "origin", "prompt"]
    count: int | None


class Exact(TypedDict):
    """Coalitions that estimators take as known."""

    all: bool
    trainers: list[Trainer]
    seeds: int


class Fit(TypedDict):
    """Coalitions that estimators are fitted on."""

    laws: list[Law]
    count: int
    alpha: float
    stratified: bool
    trainers: list[Trainer]
    seeds: int


class Test(TypedDict):
    """Held-out coalitions by which estimators are judged."""

    alphas: list[float]
    count: int
    trainers: list[Trainer]
    seeds: int


class Curve(TypedDict):
    """Removal and keep-only curves."""

    estimators: list[str]
    shares: list[float]
    trainers: list[Trainer]
    seeds: int


class Coalitions(TypedDict):
    """Which coalitions of players members are trained on."""

    exact: Exact
    fit: Fit
    test: Test
    curve: Curve


class Pruning(TypedDict):
    """How the model is made smaller, and trained again."""

    ratio: float
    steps: int
    learning_rate: float
    warmup_steps: int


class Unlearning(TypedDict):
    """How a trained model goes on with the samples of a coalition."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    ema: float | None


class Images(TypedDict):
    """The images that every member generates."""

    count: int
    steps: int
    guidance: float
    repeats: int


class Reference(TypedDict):
    """The held-out samples that losses are taken on."""

    rows: int
    timesteps: int


class Encoder(TypedDict):
    """What gives the features of images; that of the classifier has the path of the game's own."""

    kind: Literal["efficientnet", "inception", "classifier"]
    path: str | None


class Game(TypedDict):
    """Which contributors shaped what a model does overall."""

    model: str
    players: Players
    behaviours: list[str]
    coalitions: Coalitions
    pruning: Pruning
    unlearning: Unlearning
    budget: Literal["steps", "epochs"]
    images: Images
    reference: Reference
    encoder: Encoder
    classifier: str | None
    clusters: int | None
    run: str | None
    in_explorer: bool
    bootstrap: int
    confidence: float
    query: int
    per_job: int
    seed: int
    exclude: list[str]
