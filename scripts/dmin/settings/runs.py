"""Settings of runs and banks, as the schema has them once defaults are filled in."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from .audits import Audit
from .pilot import Curvature


class OwnImages(TypedDict):
    """Images of source images."""

    path: str
    revision: str | None
    split: str
    image_column: str
    caption_column: str | None
    rows: int | None


class QueryClassifier(TypedDict):
    """Tells the subset of each generated image, for a data set with classes and an unconditional model."""

    path: str
    confidence: float
    oversample: float


class Select(TypedDict):
    """Takes the generated images that measure most, whatever their class."""

    measure: Literal["thickness"]
    of: int
    keep: int


class Region(TypedDict):
    """A part of a query that is asked about on its own: a box, or a mask."""

    query: str
    name: str
    box: list[float] | None
    mask: str | None


class Queries(TypedDict):
    """The images that are asked about."""

    source: Literal["generated", "held_out", "prompts", "images"]
    prompts: list[str] | str | None
    images: OwnImages | None
    per_subset: int
    classifier: QueryClassifier | None
    select: Select | None
    regions: list[Region]
    steps: int
    guidance: float
    seed: int


class Timesteps(TypedDict):
    """Timesteps at which gradients are taken."""

    grid: Literal["dmin_cubic", "uniform", "custom"]
    count: int
    custom: list[int]


class GradientNoise(TypedDict):
    """Noise added to a sample before its gradient is taken."""

    policy: Literal["shared", "per_timestep", "by_id"]
    seed: int


class Scale(TypedDict):
    """The factor of each tensor's gradient in the caches of the scaled methods."""

    kind: Literal["tensor", "module"]
    pilot: int | None
    floor: float
    exponent: float


class Gradients(TypedDict):
    """The gradient cache."""

    parameters: str
    objective: Literal["training", "reference"]
    timesteps: Timesteps
    noise: GradientNoise
    cache_dim: int
    block_dim: int
    sketch_kind: Literal["permutation", "rolled"]
    sketch_seed: int
    scale: Scale
    curvature: Curvature
    keep_raw: bool
    precision: Literal["float32", "bfloat16", "float16"]
    on_bad_loss: Literal["error", "skip"]
    shard_size: int


class Options(TypedDict):
    """Settings of single methods."""

    encoder: str
    revision: str | None
    relative_lambda: float
    lambda_grid: list[float]
    journey_steps: int
    journey_draws: int
    damping: float
    lissa_iterations: int
    lissa_alpha: Literal["auto"] | float
    lissa_products: int
    lissa_batch: int
    lissa_damping: float
    train_timestep: Literal["mean", "one"]
    tracin_timesteps: int
    tracin_draws: int
    weighted_top: float
    shrink_rank: int
    shrink_samples: int
    shrink_ridge: float
    student_teacher: Literal["dmin", "dmin_scaled"]
    student_width: int
    nda_timestep: int
    nda_patch: Literal[3, 5, 7, 9, 11, 13, 15]
    nda_side: int
    seed: int


class Hnsw(TypedDict):
    """The HNSW index (hnswlib, inner product)."""

    M: int
    ef_construction: int
    ef: int
    seed: int
    method: Literal["auto", "dmin", "dmin_scaled"]


class Cascade(TypedDict):
    """The search in two stages."""

    rank: int
    delta: float
    seed: int


class Significance(TypedDict):
    """What ranked lists say beside scores."""

    held_out: bool
    fdr: float


class Influence(TypedDict):
    """Methods and retrieval."""

    methods: list[str]
    options: Options
    widths: list[int]
    uncompressed: bool
    top_k: int
    significance: Significance
    backends: list[Literal["exact", "cascade", "hnsw"]]
    cascade: Cascade
    hnsw: Hnsw


class Evaluation(TypedDict):
    """The detection rate."""

    k: list[int]
    bootstrap: int
    confidence: float
    seed: int


class Lds(TypedDict):
    """The linear datamodeling score (target lds); a run without this table has none."""

    bank: str
    timesteps: int
    bands: list[int]
    bootstrap: int
    seed: int


class Removal(TypedDict):
    """Counterfactual removal: queries generated again without what a method ranks first for them."""

    methods: list[str]
    queries: int
    k: int | None
    draws: int
    seeds: int
    budget: Literal["epochs", "steps"]
    per_job: int
    seed: int
    exclude: list[str]


class Thickness(TypedDict):
    """Study of stroke thickness: what is generated without what a method ranks first for the thickest."""

    methods: list[str]
    top_k: int
    draws: int
    seeds: int
    budget: Literal["epochs", "steps"]
    per_job: int
    seed: int
    exclude: list[str]


class Deletion(TypedDict):
    """Deletion: the loss of queries once models are trained without what a method ranks first for them."""

    methods: list[str]
    queries: int
    shares: list[float]
    timesteps: int
    draws: int
    seeds: int
    budget: Literal["epochs", "steps"]
    per_job: int
    seed: int
    exclude: list[str]


class HnswGrid(TypedDict):
    """Every combination of HNSW settings, by default those of the paper's supplement."""

    v: int
    M: list[int]
    ef_construction: list[int]
    ef: list[int]


class Compression(TypedDict):
    """Widths and number formats of stored sketches."""

    widths: list[int]
    storage: list[Literal["fp32", "fp16", "int8", "int4", "one_bit"]]


class Ablation(TypedDict):
    """Studies of the index, of compression, of timesteps and of seeds (target ablations."""

    hnsw: HnswGrid
    compression: Compression
    seeds: list[str]


class Maps(TypedDict):
    """Where, at which timesteps and in which layers scores come from (target maps)."""

    method: str
    queries: int | list[str]
    top_k: int
    grid: int


class Run(TypedDict):
    """Which training images shaped the images that a model generates."""

    model: str
    queries: Queries
    gradients: Gradients
    influence: Influence
    evaluation: Evaluation
    lds: NotRequired[Lds]
    removal: NotRequired[Removal]
    deletion: NotRequired[Deletion]
    thickness: NotRequired[Thickness]
    ablation: NotRequired[Ablation]
    maps: NotRequired[Maps]
    audit: NotRequired[Audit]


class Bank(TypedDict):
    """Models retrained on random parts of a training set, for the LDS."""

    model: str
    subsets: int
    fraction: float
    seeds: int
    per_job: int
    seed: int
    exclude: list[int]
