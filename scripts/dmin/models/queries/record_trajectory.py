"""Sample the queries again and keep what the denoiser predicted at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dmin.data.samples import read_samples, sample_pixels
from dmin.models.families.sampling import NotFiniteError, Sampling
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import SizedSampling, describe_query, initial_noise
from dmin.models.queries.sampler import Sampler, open_sampler
from dmin.models.queries.trajectory import Trajectory
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.progress import Progress, Shapes
from dmin.runtime.provenance import made_by
from dmin.runtime.sidecar import only_writer

# Mean difference of 8-bit pixels that another batch size or device may make; another image differs by tens.
TOLERANCE = 4.0


def record_trajectory(queries: Path, model: TrainedModel, config: SizedSampling, out: Path, pace: Pace) -> None:
    """Write the trajectories of generated queries: clean latents ``[queries, steps, c, h, w]`` fp32.

    Each query is sampled from its recorded prompt and seed, and must give the image that stands in the table, so the
    images stay as they are. A killed job resumes at its last finished batch.

    Args:
        queries: the table of generated images.
        config: what they were sampled with.

    Raises:
        UserError: the table names no prompt or seed, as for images that were not generated here, or an image is not
            what its seed gives; another process records them; or the end was asked for.
    """
    table = read_samples(queries)
    for column in ("prompt", "seed"):
        if column not in table.columns or table[column].isna().any():
            raise UserError(
                f"Queries '{queries}' have no {column} to sample them again with, so no trajectory; leave journey_trak "
                "out for images that were not generated here."
            )
    prompts, names = table["prompt"].tolist(), table["id"].tolist()
    resume = out.parent / ".resume"
    with (
        open_sampler(model, prompts, names, config["size"], pace) as sampler,
        only_writer(resume, out.stem),
    ):
        count, steps = len(table), config["steps"]
        made_from = {"queries": file_digest(queries), **model.digests()}
        asked = {"steps": steps, "guidance": config["guidance"], "size": config["size"]}
        settings = {**made_from, **asked, **made_by(pace.code)}
        shapes: Shapes = {
            "clean": ((count, steps, *sampler.shape), np.float32),
            "timesteps": ((count, steps), np.int64),
        }
        progress = Progress(resume, out.stem, settings, shapes)
        progress.fill(lambda rows: _sample(sampler, table.iloc[rows], rows, config), pace, "trajectories")
        timesteps = progress.arrays["timesteps"][0].tolist()
        Trajectory(names, timesteps, torch.from_numpy(np.array(progress.arrays["clean"]))).save(out)
        progress.discard()


def _sample(sampler: Sampler, part: pd.DataFrame, rows: slice, config: Sampling) -> dict[str, torch.Tensor]:
    timesteps: list[int] = []
    clean: list[torch.Tensor] = []

    def keep(timestep: int, predicted: torch.Tensor) -> None:
        timesteps.append(timestep)
        clean.append(predicted.float().cpu())

    try:
        pixels = sampler.sample(rows, initial_noise(part["seed"].tolist(), sampler.shape), config, keep)
    except NotFiniteError as error:
        raise error.of([describe_query(row) for row in part.to_dict("records")]) from error
    images = sample_pixels(part)
    if images.shape != pixels.shape:
        raise UserError(
            f"Query '{part['id'].iloc[0]}' is an image of {images.shape[2]} x {images.shape[1]} px and not of "
            f"{pixels.shape[2]}, the data set's size; generate the queries again with this model."
        )
    difference = np.abs(pixels.astype(float) - images).mean((1, 2, 3))
    if difference.max() > TOLERANCE:
        name = part["id"].iloc[int(difference.argmax())]
        raise UserError(
            f"Query '{name}' is not the image that its seed gives (mean difference {difference.max():.0f} of 255), so "
            "it has no trajectory; generate the queries again with this model, or leave journey_trak out."
        )
    return {"clean": torch.stack(clean, 1), "timesteps": torch.tensor(timesteps).expand(len(part), -1)}
