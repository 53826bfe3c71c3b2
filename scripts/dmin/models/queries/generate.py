"""Generate the images that are asked about."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import read_samples, write_samples
from dmin.models.load import load_trained
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)


def choose_prompts(test: pd.DataFrame, subsets: Sequence[str], per_subset: int, seed: int) -> pd.DataFrame:
    """Draw ``per_subset`` test prompts of each subset; columns ``id, subset, prompt, seed``.

    A subset with fewer test rows uses them again, each time with another noise seed.

    Raises:
        UserError: a subset has no test row.
    """
    rows = []
    for subset in subsets:
        prompts = test.loc[test["subset"] == subset].sort_values("id")["prompt"].tolist()
        if not prompts:
            raise UserError(f"Subset '{subset}' has no row in the test set to take prompts from; give it more rows.")
        order = torch.randperm(
            len(prompts), generator=torch.Generator().manual_seed(derive_seed(seed, "prompts", subset))
        ).tolist()
        for number in range(per_subset):
            name = f"query/{subset}/{number:04d}"
            rows.append(
                {
                    "id": name,
                    "subset": subset,
                    "prompt": prompts[order[number % len(prompts)]],
                    "seed": derive_seed(seed, "query", name) % 2**32,
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
            "seed": [derive_seed(seed, "query", name) % 2**32 for name in names],
        }
    )


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Return the noise ``[len(seeds), *shape]`` that sampling starts from, each from its own seed."""
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def generate_queries(
    test: Path,
    weights: Path,
    base: Mapping[str, Any],
    config: Mapping[str, Any],
    subsets: Sequence[str],
    out: Path,
    device: str,
    batch: int,
) -> None:
    """Generate images from test prompts with the trained model; columns ``id, subset, prompt, seed, image``.

    Each image's initial noise comes from its own recorded seed, so it can be generated again alone.
    """
    queries = choose_prompts(read_samples(test), subsets, config["per_subset"], config["seed"])
    write_samples(generate_images(queries, weights, base, config, device, batch), out)


def generate_candidates(
    test: Path,
    weights: Path,
    base: Mapping[str, Any],
    config: Mapping[str, Any],
    count: int,
    out: Path,
    device: str,
    batch: int,
) -> None:
    """Generate ``count`` images that no subset is asked of; columns ``id, prompt, seed, image``."""
    candidates = choose_candidates(read_samples(test, ["id", "prompt"]), count, config["seed"])
    write_samples(generate_images(candidates, weights, base, config, device, batch), out)


def generate_images(
    queries: pd.DataFrame, weights: Path, base: Mapping[str, Any], config: Mapping[str, Any], device: str, batch: int
) -> pd.DataFrame:
    """Return a table with the columns ``prompt, seed`` and the image generated from each row in ``image``.

    Args:
        config: ``steps`` and ``guidance`` of sampling.
        batch: images sampled together; their noises are their own, so it is a matter of speed alone.
    """
    start = time.monotonic()
    family = load_trained(base, weights, resolve_device(device), ["encoders", "denoiser"])
    unconditional = family.encode_prompts([""])
    images = []
    for first in range(0, len(queries), batch):
        part = queries.iloc[first : first + batch]
        noise = initial_noise(part["seed"].tolist(), family.latent_shape)
        pixels = family.sample(
            family.encode_prompts(part["prompt"].tolist()), unconditional, noise, config["steps"], config["guidance"]
        )
        images += [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
        log.info("%d of %d images, %.1f s", len(images), len(queries), time.monotonic() - start)
    return queries.assign(image=pd.Series(images, index=queries.index))
