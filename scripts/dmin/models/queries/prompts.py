"""Images generated from a user's own prompts, as queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.data.samples import write_samples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import SeededSampling, generate_images
from dmin.models.queries.own import SUBSET, own_names
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_seed


def generate_from_prompts(
    prompts: Sequence[str], model: TrainedModel, config: SeededSampling, out: Path, pace: Pace
) -> None:
    """Generate an image from each prompt; columns ``id, subset, prompt, seed, image``, the subset always ``query``."""
    names = own_names(len(prompts))
    seeds = [derive_seed(config["seed"], "query", name) % 2**32 for name in names]
    queries = pd.DataFrame({"id": names, "subset": SUBSET, "prompt": list(prompts), "seed": seeds})
    write_samples(generate_images(queries, model, config, pace), out)
