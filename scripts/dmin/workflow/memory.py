"""The memory that jobs ask for, in MB: what they hold beyond blocks of images, by the sizes that the config names."""

from __future__ import annotations

from pathlib import Path

from ..catalogue.methods import METHODS
from .gradients import Gradients
from .models import Base

# What any job may take: its imports, and at most 1 GB of what it reads. profiles/default has it for all other rules.
LEAST = 2000
# Methods that go through the training gradients block by block; others hold one vector for each sample or more.
STREAMED = ("dmin", "dmin_no_norm", "dmin_renorm", "dmin_scaled", "dmin_query_scaled", "ekfac")
_MB = 10**6
# What the features of an image take while they are learned from: of the encoder, of pixels and of words.
_FEATURES = 4 * (1280 + 768 + 512)


def model_mb(base: Base, copies: int = 2) -> int:
    """Return what a job takes that loads a model.

    Args:
        copies: of its weights: 2 while they are loaded, 5 where all of them are trained (gradients, two moments and
            the average).
    """
    size = sum(Path(file).stat().st_size for file in base.files) // _MB if base.files else _hub_mb(base)
    return LEAST + copies * size


def _hub_mb(base: Base) -> int:
    """Return the size of a base on the hub, which is not known before it is loaded: that of its family."""
    return base.family.hub_mb // (2 if base.settings["precision"] == "bfloat16" else 1)


def index_mb(gradients: Gradients, v: str, links: int) -> int:
    """Return what an HNSW index at width ``v`` takes: every vector in single precision, and its links."""
    values = gradients.timestep_count * int(v) + 2 * links + 4
    return LEAST + gradients.count("train") * values * 4 // _MB


def cascade_mb(gradients: Gradients, v: str, rank: int) -> int:
    """Return what the first stage of a search in two takes: coordinates, a basis, and the rows it is learned from."""
    width = gradients.timestep_count * int(v)
    learned = max(2 * rank * width, 2**26)
    return LEAST + 4 * (gradients.count("train") * rank + 3 * rank * width + 3 * learned) // _MB


def taught_mb(gradients: Gradients) -> int:
    """Return what learning from a teacher takes: the features of all images, thrice, and 1 GB of pairs."""
    return LEAST + 1000 + 3 * _FEATURES * gradients.count("train") // _MB


def scoring_mb(gradients: Gradients, method: str, v: str, held_out: int = 0) -> int:
    """Return what scoring by a method takes at a width or ``full``, where ``held_out`` images are scored too.

    A kernel, its eigenvectors and a copy of both are ``32 N^2`` bytes; other methods that do not stream hold the
    samples' vectors twice.
    """
    count, width = gradients.count("train") + held_out, 0 if v == "full" else int(v)
    if "relative_lambda" in METHODS[method].options:
        return LEAST + (32 * count * count + 8 * count * gradients.timestep_count * width) // _MB
    return LEAST if method in STREAMED else LEAST + 8 * count * gradients.timestep_count * width // _MB
