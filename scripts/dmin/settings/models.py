"""Settings of data sets, bases and models, as the schema has them once defaults are filled in."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class NoisedCopies(TypedDict):
    """Noised copies, appended as rows of their own before the split."""

    fraction: float
    std: float


class Source(TypedDict):
    """Where images come from."""

    name: str
    path: str
    revision: str | None
    split: str
    image_column: str
    caption_column: str | None
    on_empty_caption: Literal["error", "keep"]
    trigger: str | None
    label_column: str | None
    labels: list[str] | None
    origin_column: str | None
    rows: int | None
    sample: Literal["first", "random"]
    repeats: int | Literal["folders"] | None
    on_unreadable: Literal["error", "skip"]


class Plant(TypedDict):
    """Faults that are planted in the training set, each the share of its rows that get it."""

    swapped_captions: float
    flipped_labels: float
    exact_duplicates: float
    transformed_duplicates: float
    foreign: float
    blank: float


class _Rows(TypedDict):
    """Which rows a data set has, and how its images are read."""

    size: int
    seed: int
    train_fraction: float
    test_sources: list[str]
    noise: NoisedCopies
    classes: list[str] | None
    convert_profiles: bool


class Dataset(_Rows):
    """A data set, assembled from one or more sources."""

    bucket_step: int | None
    plant: NotRequired[Plant]
    sources: list[Source]


class Assembly(_Rows):
    """What a data set is assembled by: its settings, but for those of its sources and what is not set."""

    bucket_step: NotRequired[int]
    plant: NotRequired[Plant]


class Base(TypedDict):
    """A pretrained pipeline that models are fine-tuned from."""

    family: str
    path: str
    revision: str | None
    config: str | None
    precision: Literal["float32", "bfloat16"]
    guidance: float | None
    preconditioned: bool


class OwnWeights(TypedDict):
    """A model of your own that is asked about in place of training one here."""

    path: str
    revision: str | None
    alpha: float | None


class Lora(TypedDict):
    """The low-rank adapter that is trained; its scale is alpha / rank."""

    rank: int
    alpha: int
    targets: list[str]


class Train(TypedDict):
    """Training settings."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    beta1: float
    warmup_steps: int
    flip: bool
    prompt_dropout: float
    accumulation: int
    checkpointing: bool
    precision: Literal["float32", "bfloat16"]
    ema: float | None
    seed: int
    checkpoints: list[int]


class Model(TypedDict):
    """A base fine-tuned on a data set."""

    dataset: str
    base: str
    finetune: Literal["adapter", "full"]
    weights: OwnWeights | None
    lora: Lora
    train: Train
