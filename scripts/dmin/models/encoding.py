"""Encode samples once for training, caching and everything after."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dmin.data.pixels import pixels_to_tensor
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import pixel_runs, read_columns, read_samples
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.families.prompts import tell_long_prompts
from dmin.models.families.sampling import NotFiniteError, require_finite
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.shaped_latents import ShapedLatents
from dmin.models.spool import Spool
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.models import Base

log = logging.getLogger(__name__)

_TOKENS = "tokens/"


def encode_samples(
    samples: Path, base: Base, out: Path, pace: Pace, adapter: Path | None = None, bucketed: bool = False
) -> None:
    """Encode the images and prompts of a parquet file with the frozen encoders of ``base``.

    The ``adapter`` is the file of one that may change text encoders, which then encode the prompts with it. Images of
    several shapes are those of a ``bucketed`` data set, or of what is asked of one.

    Latents are modes of the autoencoder's posterior, never samples of it, so that equal images stay equal. Prompts that
    are too long are cut; how many is logged and kept in the file as ``truncated``. Memory is that of one batch: what is
    encoded goes to disk beside ``out`` until all is.

    Raises:
        UserError: as :func:`load_trained`; a latent or an embedding is not finite (the sample is named); or all prompts
            are encoded alike, as by an empty tokenizer.
    """
    start = time.monotonic()
    rows = SampleRows(samples, ["image", "prompt"])
    repeats = read_repeats(samples)
    device = resolve_device(pace.device)
    if adapter is None:
        family = load_family(base, device, ["encoders"])
    else:
        family = load_trained(TrainedModel(base, adapter), device, ["encoders"])
    long: list[int] = []
    prompts: list[str] = []
    kinds: dict[tuple[int, ...], int] = {}
    kind_of: list[int] = []
    with Spool(out.parent) as spool:
        for _, part in rows.blocks(pace.batch, ["id", "image", "prompt"]):
            given = part["prompt"].tolist()
            long += [len(prompts) + place for place in family.long_prompts(given)]
            prompts += given
            for run, pixels in pixel_runs(part):
                encoded = _encode(family, part.iloc[run], pixels)
                kind = kinds.setdefault(tuple(encoded["latents"].shape[1:]), len(kinds))
                kind_of += [kind] * len(pixels)
                encoded[f"latents/{kind}"] = encoded.pop("latents")
                for name, value in encoded.items():
                    spool.add(name, value)
        tell_long_prompts(long, rows.ids)
        conditioning = spool.tensors()
        told = [name for name in conditioning if name.startswith(_TOKENS)]
        tokens = {name.removeprefix(_TOKENS): conditioning.pop(name) for name in told}
        parts = [conditioning.pop(f"latents/{kind}") for kind in kinds.values()]
        latents = parts[0] if len(parts) == 1 else ShapedLatents(parts, torch.tensor(kind_of))
        cut = set(long)
        _require_distinct(
            [prompt for place, prompt in enumerate(prompts) if place not in cut], conditioning, base["path"]
        )
        unconditional = {name: value.cpu() for name, value in family.encode_nothing().items()}
        made = (rows.ids, latents, conditioning, unconditional, repeats)
        EncodedSamples(*made, bucketed=bucketed, tokens=tokens).save(out, truncated=len(long))
    log.info("%d samples encoded in %.1f s", len(rows), time.monotonic() - start)


def read_repeats(samples: Path) -> torch.Tensor | None:
    """Return how often each sample is seen in an epoch, ``[N]``; None where once, as queries are."""
    if "repeats" not in read_columns(samples):
        return None
    repeats = torch.tensor(read_samples(samples, ["repeats"])["repeats"].tolist(), dtype=torch.long)
    return repeats if bool((repeats != 1).any()) else None


def _encode(family: Family, part: pd.DataFrame, pixels: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the latents and the conditioning of samples whose images have one shape.

    The tokens of their prompts are beside where an adapter changes text encoders: gradients in it encode them anew.
    """
    prompts = part["prompt"].tolist()
    try:
        encoded = {"latents": family.encode_images(pixels_to_tensor(pixels))}
        for name, value in family.encode_prompts(prompts).items():
            require_finite(value, f"the text encoder's values ({name})")
            encoded[name] = value
    except NotFiniteError as error:
        raise error.of([f"Sample '{name}'" for name in part["id"]]) from error
    if family.adapted_text():
        encoded |= {f"{_TOKENS}{name}": value for name, value in family.prompt_tokens(prompts).items()}
    return encoded


def _require_distinct(prompts: Sequence[str], conditioning: Mapping[str, torch.Tensor], base: str) -> None:
    """Refuse text encoders that make the same of ``prompts``, none of which is cut."""
    different = len({" ".join(prompt.lower().split()) for prompt in prompts})
    # Row by row, for the whole may be larger than memory, and the second row mostly tells.
    alike = all(all(torch.equal(row, value[0]) for row in value) for value in conditioning.values())
    if conditioning and alike and different > 1:
        raise UserError(
            f"The tokenizer and text encoder of '{base}' make the same of {different} different prompts; download the "
            "base again."
        )
