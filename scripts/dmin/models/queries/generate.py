"""Generate the images that are asked about."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import read_samples, write_samples
from dmin.models.families.sampling import NotFiniteError, Sampling
from dmin.models.load import TrainedModel
from dmin.models.queries.names import query_names, query_seed
from dmin.models.queries.sampler import open_sampler
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_seed
from dmin.runtime.text import shown

log = logging.getLogger(__name__)


class SizedSampling(Sampling):
    """How images are generated, ``size`` pixels wide and high, as those of the data set are."""

    size: int


class SeededSampling(SizedSampling):
    """How images are generated, and the ``seed`` of their own seeds."""

    seed: int


class GeneratedQueries(SeededSampling):
    """The same, and how many images there are of each subset."""

    per_subset: int


def choose_prompts(test: pd.DataFrame, subsets: Sequence[str], per_subset: int, seed: int) -> pd.DataFrame:
    """Draw ``per_subset`` test prompts of each subset; columns ``id, subset, prompt, label, seed``.

    The label is that of the test row. A subset with fewer test rows uses them again, each time with another noise seed.

    Raises:
        UserError: a subset has no test row.
    """
    rows = []
    for subset in subsets:
        given = test.loc[test["subset"] == subset].sort_values("id")
        prompts, labels = given["prompt"].tolist(), given["label"].tolist()
        if not prompts:
            raise UserError(f"Subset '{subset}' has no row in the test set to take prompts from; give it more rows.")
        order = torch.randperm(
            len(prompts), generator=torch.Generator().manual_seed(derive_seed(seed, "prompts", subset))
        ).tolist()
        for number, name in enumerate(query_names(subset, per_subset)):
            rows.append(
                {
                    "id": name,
                    "subset": subset,
                    "prompt": prompts[order[number % len(prompts)]],
                    "label": labels[order[number % len(prompts)]],
                    "seed": query_seed(seed, name),
                }
            )
    return pd.DataFrame(rows)


def choose_candidates(test: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw ``count`` prompts from the whole test set, for images labelled later; columns ``id, prompt, seed``.

    The prompts of an unconditional model are empty. The first of many candidates are those of few.
    """
    prompts = test.sort_values("id")["prompt"].tolist()
    order = torch.randperm(
        len(prompts), generator=torch.Generator().manual_seed(derive_seed(seed, "candidate prompts"))
    ).tolist()
    names = [f"candidate/{number:06d}" for number in range(count)]
    return pd.DataFrame(
        {
            "id": names,
            "prompt": [prompts[order[number % len(prompts)]] for number in range(count)],
            "seed": [query_seed(seed, name) for name in names],
        }
    )


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Return the noise ``[len(seeds), *shape]`` that sampling starts from, each from its own seed."""
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def generate_queries(
    test: Path, model: TrainedModel, config: GeneratedQueries, subsets: Sequence[str], out: Path, pace: Pace
) -> None:
    """Generate images from test prompts with the trained model; columns ``id, subset, prompt, label, seed, image``.

    Each image's initial noise comes from its own recorded seed, so it can be generated again alone.
    """
    queries = choose_prompts(
        read_samples(test, ["id", "subset", "prompt", "label"]), subsets, config["per_subset"], config["seed"]
    )
    write_samples(generate_images(queries, model, config, pace), out)


def generate_candidates(
    test: Path, model: TrainedModel, config: SeededSampling, count: int, out: Path, pace: Pace
) -> None:
    """Generate ``count`` images that no subset is asked of; columns ``id, prompt, seed, image``."""
    candidates = choose_candidates(read_samples(test, ["id", "prompt"]), count, config["seed"])
    write_samples(generate_images(candidates, model, config, pace), out)


def generate_images(queries: pd.DataFrame, model: TrainedModel, config: SizedSampling, pace: Pace) -> pd.DataFrame:
    """Return a table with the columns ``id, prompt, seed`` and the image generated from each row in ``image``.

    Images that are sampled together have noises of their own.

    Raises:
        UserError: as :func:`open_sampler`, or what is sampled is not finite; the query and the step are named.
    """
    start = time.monotonic()
    images = []
    prompts, names = queries["prompt"].tolist(), queries["id"].tolist()
    with open_sampler(model, prompts, names, config["size"], pace) as sampler:
        for first in range(0, len(queries), pace.batch):
            rows = slice(first, first + pace.batch)
            part = queries.iloc[rows]
            try:
                pixels = sampler.sample(rows, initial_noise(part["seed"].tolist(), sampler.shape), config)
            except NotFiniteError as error:
                raise error.of([describe_query(row) for row in part.to_dict("records")]) from error
            images += [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
            log.info("%d of %d images, %.1f s", len(images), len(queries), time.monotonic() - start)
    return queries.assign(image=pd.Series(images, index=queries.index))


def describe_query(row: Mapping[Hashable, Any]) -> str:
    """Return a query's id and the beginning of its prompt, for a message."""
    return f"Query '{row['id']}' ('{shown(row['prompt'])}')"
