"""Train a small Stable-Diffusion-shaped pipeline from scratch, tokenizer to UNet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from dmin.data.excerpt import remaining_rows
from dmin.data.images import decode_image, image_to_array
from dmin.data.pixels import pixels_to_tensor
from dmin.data.samples import image_bytes
from dmin.models.base.autoencoder import encode_modes, train_autoencoder
from dmin.models.base.denoiser import CaptionedLatents, build_networks, build_scheduler, train_denoiser
from dmin.models.base.tokenizer import train_tokenizer
from dmin.models.training.pace import TrainingPace
from dmin.models.training.state import TrainingState
from dmin.runtime.digests import config_digest, file_digest
from dmin.runtime.provenance import made_by
from dmin.runtime.sidecar import only_writer
from dmin.settings.config import BaseTraining, BaseTrainingSource, DenoiserTraining

log = logging.getLogger(__name__)


def train_base(config: BaseTraining, out: Path, state_folder: Path, pace: TrainingPace) -> None:
    """Train tokenizer, autoencoder, text encoder and UNet and write them as one diffusers pipeline in half precision.

    The images are the sources' rows that their excerpts leave out. A source of n rows is drawn with probability in
    proportion to ``n ** balance``, so that small ones are learned too: 0.5 throughout, then the setting of
    ``refine``, a second training of the UNet and the text encoder. A killed run resumes from its last saved step.

    Raises:
        UserError: another process trains this base, or the end was asked for.
    """
    with only_writer(state_folder, out.name):
        _train_base(config, out, state_folder, pace)


def _train_base(config: BaseTraining, out: Path, state_folder: Path, pace: TrainingPace) -> None:
    images, prompts, sizes = read_sources(config["sources"], config["size"])
    weights = sizes**-0.5
    log.info("%d images of %d sources", len(images), len(config["sources"]))
    settings, refine, seed = config["denoiser"], config["refine"], config["seed"]
    files = [file_digest(Path(path)) for source in config["sources"] for path in (source["path"], source["excerpt"])]
    key = config_digest(config["autoencoder"], config["size"], seed, files, made_by(pace.code))
    digests = [key, config_digest(key, settings), config_digest(key, settings, refine)]
    states = [TrainingState(state_folder, digest) for digest in digests]
    vae = train_autoencoder(images, weights, config["autoencoder"], seed, states[0], pace)
    tokenizer = train_tokenizer(prompts, settings["merges"], settings["prompt_length"])
    samples = CaptionedLatents(
        encode_modes(vae, images) * vae.config.scaling_factor,
        tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids,
        tokenizer("", padding="max_length", truncation=True, return_tensors="pt").input_ids[0],
        weights,
    )
    networks = build_networks(settings, samples.latents.shape, tokenizer, seed)
    train_denoiser(networks, samples, settings, seed, states[1], pace)
    refined: DenoiserTraining = {**settings, "steps": refine["steps"], "learning_rate": refine["learning_rate"]}
    train_denoiser(networks, replace(samples, weights=sizes ** (refine["balance"] - 1)), refined, seed, states[2], pace)
    unet, text_encoder = networks
    save_base(vae, tokenizer, text_encoder, unet, out)
    for state in states:
        state.discard()


def save_base(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, out: Path
) -> None:
    """Write the parts as a Stable Diffusion pipeline folder, weights in half precision."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)


def read_sources(sources: Sequence[BaseTrainingSource], size: int) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """Return images ``[N, 3, size, size]`` in [-1, 1], their prompts, and the size of each one's source ``[N]``."""
    pixels, prompts, sizes = [], [], []
    for source in sources:
        rows = remaining_rows(Path(source["path"]), Path(source["excerpt"]))
        for origin, cell in zip(rows["origin"], rows["image"], strict=True):
            pixels.append(image_to_array(decode_image(image_bytes(cell), f"{source['name']} {origin}", size)))
        prompts += rows["prompt"].tolist()
        sizes += [len(rows)] * len(rows)
    return pixels_to_tensor(np.stack(pixels)), prompts, torch.tensor(sizes, dtype=torch.float32)
