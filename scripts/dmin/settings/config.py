"""Settings of the whole config, as the schema has them once defaults are filled in."""

from __future__ import annotations

from typing import Literal, TypedDict

from .games import Game
from .models import Base, Dataset, Model
from .runs import Bank, Run


class BaseTrainingSource(TypedDict):
    """A source of such a training."""

    name: str
    path: str
    excerpt: str


class AutoencoderTraining(TypedDict):
    """The image autoencoder."""

    channels: list[int]
    latent_channels: int
    kl_weight: float
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int


class DenoiserTraining(TypedDict):
    """The UNet and its text encoder."""

    channels: list[int]
    text_width: int
    text_layers: int
    merges: int
    prompt_length: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    prompt_dropout: float
    ema_decay: float


class Refinement(TypedDict):
    """A second training of the UNet and its text encoder, from the first one's result."""

    steps: int
    learning_rate: float
    balance: float


class BaseTraining(TypedDict):
    """A training of a small base pipeline from scratch."""

    sources: list[BaseTrainingSource]
    size: int
    seed: int
    autoencoder: AutoencoderTraining
    denoiser: DenoiserTraining
    refine: Refinement


class ClassifierTraining(TypedDict):
    """A training of a classifier of grey images."""

    train: str
    test: str
    image_column: str
    label_column: str
    size: int
    channels: list[int]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    rotation: float
    shift: float
    scale: float
    seed: int


class Gallery(TypedDict):
    """The gallery figures."""

    queries: int
    most: int
    least: int


class Figures(TypedDict):
    """Figures and the explorer; changing these redraws figures and nothing else."""

    dpi: int
    gallery: Gallery
    explorer_top: int


class Compute(TypedDict):
    """Speed only; changing these never reruns anything."""

    device: Literal["auto", "cpu", "cuda"]
    encode_batch: int
    sample_batch: int
    gradient_batch: int
    lissa_batch: int
    train_processes: int
    save_every: int
    threads: int


class Plan(TypedDict):
    """What the target plan cannot know; changing it reruns nothing."""

    throughput: dict[str, float]
    steps_per_second: dict[str, float]
    images_per_second: dict[str, float]


class Config(TypedDict):
    """The whole config, checked and filled with defaults."""

    datasets: dict[str, Dataset]
    bases: dict[str, Base]
    models: dict[str, Model]
    runs: dict[str, Run]
    banks: dict[str, Bank]
    games: dict[str, Game]
    base_training: dict[str, BaseTraining]
    classifier_training: dict[str, ClassifierTraining]
    figures: Figures
    compute: Compute
    plan: Plan
