"""Stable Diffusion 1: latent UNet conditioned on CLIP text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from dmin.errors import UserError
from dmin.models.adapter_file import canonicalise_adapter
from dmin.models.family import Conditioning, Family, Recorder
from dmin.models.pixels import tensor_to_pixels

ADAPTER_FILE = "pytorch_lora_weights.safetensors"


class StableDiffusion(Family):
    """A Stable-Diffusion-1-shaped pipeline in the diffusers on-disk format, from a folder or the hub."""

    name: ClassVar[str] = "stable_diffusion"

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.device = device
        self.scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler", revision=revision)
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(
                f"The scheduler of '{base}' has prediction_type '{self.scheduler.config.prediction_type}'; "
                "epsilon and v_prediction are supported."
            )
        load = {"revision": revision, "torch_dtype": torch.float32}
        if "encoders" in parts:
            self.vae = self._frozen(AutoencoderKL.from_pretrained(base, subfolder="vae", **load))
            self.text_encoder = self._frozen(CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **load))
            self.tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer", revision=revision)
        if "denoiser" in parts:
            self.denoiser = self._frozen(UNet2DConditionModel.from_pretrained(base, subfolder="unet", **load))

    @classmethod
    def load(cls, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> StableDiffusion:
        return cls(base, revision, device, parts)

    def _frozen(self, module: Any) -> Any:
        return module.to(self.device).eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        config: Any = self.denoiser.config
        return (config.in_channels, config.sample_size, config.sample_size)

    @torch.no_grad()
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        unit = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if pixels.shape[-1] % unit or pixels.shape[-2] % unit:
            raise UserError(
                f"Images of {pixels.shape[-1]} px do not fit this autoencoder; set the data set's size to a multiple "
                f"of {unit}."
            )
        mode = self.vae.encode(pixels.to(self.device)).latent_dist.mode()
        return mode * self.vae.config.scaling_factor

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        tokens = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
        return {"prompt_embeds": self.text_encoder(tokens.to(self.device)).last_hidden_state}

    def objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        prediction = self.predict(latents, noise, timesteps, conditioning)
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        return (prediction.float() - target.float()).square().flatten(1).mean(1)

    def predict(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        output: torch.Tensor = self.denoiser(noisy, timesteps, conditioning["prompt_embeds"]).sample
        return output

    @torch.no_grad()
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        steps: int,
        guidance: float,
        record: Recorder | None = None,
    ) -> np.ndarray:
        scheduler = DDIMScheduler.from_config(self.scheduler.config, clip_sample=False)
        scheduler.set_timesteps(steps, device=self.device)
        latents = noise.to(self.device)
        prompts = torch.cat([unconditional["prompt_embeds"].expand_as(conditioning["prompt_embeds"]),
                             conditioning["prompt_embeds"]])  # fmt: skip
        for timestep in scheduler.timesteps:
            prediction = self.denoiser(torch.cat([latents, latents]), timestep, prompts).sample
            without, given = prediction.chunk(2)
            stepped = scheduler.step(without + guidance * (given - without), timestep, latents)
            latents = stepped.prev_sample
            if record is not None:
                record(int(timestep), stepped.pred_original_sample)
        return tensor_to_pixels(self.vae.decode(latents / self.vae.config.scaling_factor).sample)

    def add_adapter(self, settings: Mapping[str, Any]) -> None:
        present = {name.split(".")[-1] for name, _ in self.denoiser.named_modules()} | {"to_out.0"}
        absent = [target for target in settings["targets"] if target not in present]
        if absent:
            raise UserError(f"lora.targets names '{absent[0]}', which the denoiser does not have; correct the list.")
        self.denoiser.add_adapter(
            LoraConfig(
                r=settings["rank"],
                lora_alpha=settings["alpha"],
                target_modules=list(settings["targets"]),
                init_lora_weights="gaussian",
            )
        )

    def save_adapter(self, folder: Path) -> None:
        self.denoiser.save_lora_adapter(folder, safe_serialization=True, weight_name=ADAPTER_FILE)
        canonicalise_adapter(folder / ADAPTER_FILE)

    def load_adapter(self, folder: Path) -> None:
        file, name = folder / ADAPTER_FILE, "default"
        try:
            with safe_open(file, framework="pt") as stored:
                keys = set(stored.keys())
            self.denoiser.load_lora_adapter(str(folder), prefix=None, weight_name=ADAPTER_FILE, adapter_name=name)
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
            raise UserError(f"Adapter '{file}' cannot be loaded ({detail}); train it on this base.") from error
        # diffusers only warns about weights without a place, and leaves places without weights at random.
        unmatched = sorted(keys ^ set(get_peft_model_state_dict(self.denoiser, adapter_name=name)))
        if unmatched:
            raise UserError(f"Adapter '{file}' and the denoiser differ in '{unmatched[0]}'; train it on this base.")
        self.denoiser.eval().requires_grad_(False)
