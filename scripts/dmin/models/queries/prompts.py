"""Images generated from a user's own prompts, as queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.data.samples import write_samples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import SeededSampling, generate_images
from dmin.models.queries.names import OWN, query_names, query_seed
from dmin.runtime.pace import Pace


def generate_from_prompts(
    prompts: Sequence[str], model: TrainedModel, config: SeededSampling, out: Path, pace: Pace
) -> None:
    """Generate an image from each prompt; columns ``id, subset, prompt, seed, image``, the subset always ``query``."""
    names = query_names(OWN, len(prompts))
    seeds = [query_seed(config["seed"], name) for name in names]
    queries = pd.DataFrame({"id": names, "subset": OWN, "prompt": list(prompts), "seed": seeds})
    write_samples(generate_images(queries, model, config, pace), out)
