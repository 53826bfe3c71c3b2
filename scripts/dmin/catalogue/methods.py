"""The attribution methods: what each reads and needs. A method is one file of ``dmin.attribution.methods``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .entries import read_entries

FOLDER = "attribution/methods"


@dataclass(frozen=True)
class MethodEntry:
    """What the workflow must know of a method before anything runs.

    Attributes:
        name: its name in the config, in files and in tables; the name of its file.
        inputs: ``gradients`` of one cache, those of several ``checkpoints``, the tables of ``samples``, these with the
            gradients of the training samples of a teacher (``taught``), the ``scores`` of other methods, or ``nothing``
            but the ids.
        summary: one line for tables of methods.
        score: the formula of the score, for tables of methods.
        range: the range of the scores or their unit.
        label: what figures call it; without one, its name with spaces.
        look: its colour, marker and line (``solid``, ``dashed``, ``dotted`` or ``dashdot``) in figures; without one,
            figures give it a look that depends on its name alone.
        caches: the kinds of gradient cache that it reads, of the training samples and of the queries.
        linear: the sides, ``queries`` or ``train``, in whose gradients its scores are linear while their norms are
            held, so that they are sums over parts of a loss.
        parts: the methods whose scores it reads; of those with widths, at its own.
        columns: what a table of samples must hold beside ``id`` and ``subset``.
        options: the keys of ``influence.options`` that its scores depend on.
        learns: it learns from the subsets of queries and samples.
        kernel: it solves a ridge kernel, from which the scores of any lambda follow.
        terms: what its score is the sum over timesteps of inner products of: ``unit`` gradients as they are stored, or
            ``raw`` ones, which are times their norms. The errors of its scores follow from it; empty where it is no
            such sum.
        device: it computes on ``compute.device``.
        one_shape: it takes images of one shape alone.
    """

    name: str
    inputs: Literal["nothing", "samples", "taught", "gradients", "checkpoints", "scores"]
    summary: str
    score: str
    range: str
    label: str = ""
    look: tuple[str, str, str] | None = None
    caches: tuple[str, str] | None = None
    linear: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    learns: bool = False
    kernel: bool = False
    terms: Literal["", "unit", "raw"] = ""
    device: bool = False
    one_shape: bool = False
    module: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", f"dmin.{FOLDER.replace('/', '.')}.{self.name}")
        object.__setattr__(self, "label", self.label or self.name.replace("_", " "))
        if (self.inputs == "gradients") != (self.caches is not None):
            raise ValueError(f"Method {self.name} reads {self.inputs}, which does not go with caches {self.caches}.")
        if (self.inputs == "scores") != bool(self.parts):
            raise ValueError(f"Method {self.name} reads {self.inputs}, which does not go with parts {self.parts}.")


METHODS: dict[str, MethodEntry] = {
    name: MethodEntry(name=name, **entry) for name, entry in read_entries(FOLDER, "METHOD").items()
}


def methods_reading(*inputs: str) -> list[str]:
    """Return the names of the methods whose inputs are one of these."""
    return [name for name, entry in METHODS.items() if entry.inputs in inputs]


GRADIENT_METHODS = methods_reading("gradients")
CHECKPOINT_METHODS = methods_reading("checkpoints")
SAMPLE_METHODS = methods_reading("nothing", "samples")
TAUGHT_METHODS = methods_reading("taught")
MIXED_METHODS = methods_reading("scores")
# Those whose scores have no width.
PLAIN_METHODS = [*SAMPLE_METHODS, *TAUGHT_METHODS]
KERNEL_METHODS = [name for name, entry in METHODS.items() if entry.kernel]
# Those whose scores are sums over parts of a query's loss.
LINEAR_METHODS = [name for name, entry in METHODS.items() if "queries" in entry.linear]

# The methods whose vectors an HNSW index can hold: their scores are the inner products of sketches as they are stored.
INDEXABLE = ("dmin", "dmin_scaled")

# Gradients of the output instead of the loss; each is called as what it differentiates.
OUTPUT_CACHES = ("output_norm", "output_mean")
# A sketch for each tensor, which does not fold.
BLOCKS_CACHE = "loss_blocks"
# Gradients under a scale: those of which kind, and how often each tensor's factor is applied.
SCALED_CACHES = {"loss_scaled": ("loss", 1), "loss_query_scaled": ("loss", 2), "output_norm_scaled": ("output_norm", 1)}
# Gradients of the queries multiplied by the inverse of the curvature.
CURVED_CACHE = "loss_ekfac"
# Gradients of the loss at every timestep, of which uncompressed ones are kept where the config asks for them.
KEPT_CACHES = {"loss", CURVED_CACHE, *(name for name, (quantity, _) in SCALED_CACHES.items() if quantity == "loss")}
# Gradients along the trajectory that generated a query.
JOURNEY_CACHE = "journey"
# Queries answered by LiSSA instead of their gradients.
LISSA_CACHE = "lissa"
# Gradients of a checkpoint, with its step.
CHECKPOINT_CACHE = "checkpoint-"
CACHES = sorted({kind for entry in METHODS.values() for kind in entry.caches or ()})


def read_cache(method: str, split: str) -> str:
    """Return the kind of cache that a method on gradients reads of a split.

    Of the test set it is that of ``train``, of ``regions`` of queries that of ``queries``.
    """
    caches = METHODS[method].caches
    if caches is None:
        raise ValueError(f"Method {method} reads no cache of its own.")
    return caches[split in ("queries", "regions")]
