"""The gradient caches of a run: what each is made from, and its shards and sketches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue.methods import (
    BLOCKS_CACHE,
    CACHES,
    CHECKPOINT_CACHE,
    CURVED_CACHE,
    JOURNEY_CACHE,
    KEPT_CACHES,
    OUTPUT_CACHES,
    SCALED_CACHES,
)
from ..settings.pilot import pilot_size
from ..settings.runs import Gradients as GradientSettings
from ..settings.runs import Options
from .models import Model
from .queries import Queries
from .ranges import cut_ranges
from .values import leave_out, pick

# Those that methods read; an audit, and scores that are ranked among held-out ones, have the split "test" beside.
SPLITS = ("train", "queries")


def cache_pattern(*without: str) -> str:
    """Return a wildcard constraint that admits every kind of cache but those in ``without``."""
    return "|".join([*(cache for cache in CACHES if cache not in without), rf"{CHECKPOINT_CACHE}\d+"])


def checkpoint_step(cache: str) -> int | None:
    """Return the step of the checkpoint whose gradients a cache holds; None where it holds the trained model's."""
    return int(cache.removeprefix(CHECKPOINT_CACHE)) if cache.startswith(CHECKPOINT_CACHE) else None


@dataclass(frozen=True)
class Gradients:
    """The gradient caches of a run, each of a kind: what is differentiated, and where."""

    run: str
    settings: GradientSettings
    options: Options
    model: Model
    queries: Queries

    def count(self, split: str) -> int:
        """Return how many samples a split has."""
        counts = self.model.dataset.counts
        regions = len(self.queries.regions)
        return {"train": counts.train, "test": counts.test, "queries": self.queries.count, "regions": regions}[split]

    @property
    def timestep_count(self) -> int:
        """How many timesteps the caches have; those of the journey have their own."""
        timesteps = self.settings["timesteps"]
        return len(timesteps["custom"]) if timesteps["grid"] == "custom" else timesteps["count"]

    @property
    def pilot(self) -> int:
        """How many training samples the scale of the gradients is measured on."""
        return pilot_size(self.settings["scale"]["pilot"], self.count("train"))

    @property
    def curvature_pilot(self) -> int:
        """How many training samples the curvature is measured on."""
        return pilot_size(self.settings["curvature"]["pilot"], self.count("train"))

    @property
    def checkpoint_caches(self) -> list[str]:
        """The kind of cache of each checkpoint."""
        return [f"{CHECKPOINT_CACHE}{step}" for step in self.model.checkpoint_steps]

    def rows(self, cache: str, split: str) -> int:
        """Return how many gradients of each sample of a split a cache is filled from."""
        if checkpoint_step(cache) is not None:
            # A training sample is replayed at the timestep that it was last trained with.
            return 1 if split == "train" else self.options["tracin_timesteps"]
        return self.options["journey_steps"] if cache == JOURNEY_CACHE else self.timestep_count

    def shards(self, cache: str, split: str) -> list[str]:
        """Return the shards of a cache."""
        folder = f"<results>/runs/{self.run}/gradients/{cache}/{split}"
        return [f"{folder}/{name}.safetensors" for name in cut_ranges(self.count(split), self.settings["shard_size"])]

    def sketch(self, cache: str, v: str | int, split: str) -> str:
        """Return the sketches of a cache at width v."""
        return f"<results>/runs/{self.run}/sketch/{cache}/v{v}/{split}.npy"

    def checkpoint_shards(self, split: str) -> list[str]:
        """Return the shards of every checkpoint, checkpoint by checkpoint."""
        return [shard for cache in self.checkpoint_caches for shard in self.shards(cache, split)]

    def checkpoint_sketches(self, v: str, split: str) -> list[str]:
        """Return the sketches of every checkpoint at width v, checkpoint by checkpoint."""
        return [self.sketch(cache, v, split) for cache in self.checkpoint_caches]

    def samples(self, split: str) -> str:
        """Return the encoded samples of a split."""
        known = {"train": self.model.samples, "test": self.model.test_samples}
        return known.get(split, self.queries.encoded)

    def regions(self, split: str) -> list[str]:
        """Return the masks of the regions of queries; none for other splits."""
        return [self.queries.region_masks] if split == "regions" else []

    def weights(self, cache: str) -> str:
        """Return the weights whose gradients a cache holds: the trained ones, or the folder of the checkpoints."""
        return self.model.weights if checkpoint_step(cache) is None else self.model.checkpoints

    def trajectory(self, cache: str) -> list[str]:
        """Return the trajectories that gradients are taken along; none but for the journey."""
        return [self.queries.trajectory] if cache == JOURNEY_CACHE else []

    def scale(self, cache: str) -> list[str]:
        """Return the factors of the tensors of a cache under a scale; none for other caches."""
        if cache not in SCALED_CACHES:
            return []
        return [f"<results>/runs/{self.run}/pilot_scale/{SCALED_CACHES[cache][0]}.json"]

    def scale_settings(self, quantity: str) -> dict[str, Any]:
        """Return the settings of gradients that the factors of a quantity depend on."""
        cache = next(name for name, scaled in SCALED_CACHES.items() if scaled == (quantity, 1))
        return self._pilot_settings(cache)

    def curvature(self, cache: str) -> list[str]:
        """Return the curvature that the gradients of a cache are multiplied by the inverse of; none for others."""
        return [f"<results>/runs/{self.run}/pilot_curvature/loss.safetensors"] if cache == CURVED_CACHE else []

    @property
    def curvature_settings(self) -> dict[str, Any]:
        """The settings of gradients that the curvature depends on."""
        return self._pilot_settings(CURVED_CACHE)

    def _pilot_settings(self, cache: str) -> dict[str, Any]:
        return leave_out(self.gradient_settings(cache, "train"), "keep_raw", "cache_dim", "sketch_kind", "sketch_seed")

    def replayed_log(self, cache: str, split: str) -> list[str]:
        """Return the log that the training samples of a checkpoint are replayed from; none for other caches."""
        return [self.model.training_log] if split == "train" and checkpoint_step(cache) is not None else []

    def cache_settings(self, cache: str, split: str) -> dict[str, Any]:
        """Return what is differentiated, averaged over how many noises."""
        step = checkpoint_step(cache)
        if step is not None:
            # The training samples are replayed as they were last seen; the queries meet fresh noises.
            draws = 1 if split == "train" else self.options["tracin_draws"]
            return {"checkpoint": step, "draws": draws, "quantity": "loss"}
        if cache == JOURNEY_CACHE:
            options = self.options
            return {"draws": options["journey_draws"], "quantity": "loss", "steps": options["journey_steps"]}
        if cache in SCALED_CACHES:
            quantity, power = SCALED_CACHES[cache]
            return {"draws": 1, "power": power, "quantity": quantity}
        if cache == CURVED_CACHE:
            return {"damping": self.settings["curvature"]["damping"], "draws": 1, "quantity": "loss"}
        return {"draws": 1, "quantity": cache if cache in OUTPUT_CACHES else "loss"}

    def gradient_settings(self, cache: str, split: str) -> dict[str, Any]:
        """Return the settings of gradients that hold for a cache."""
        settings = leave_out(self.settings, "shard_size", "block_dim", "scale", "curvature")
        if cache in SCALED_CACHES:
            settings["scale"] = {**self.settings["scale"], "pilot": self.pilot}
        if cache == CURVED_CACHE:
            settings["curvature"] = {"pilot": self.curvature_pilot, "widest": self.settings["curvature"]["widest"]}
        if cache not in KEPT_CACHES:
            settings["keep_raw"] = False
        if cache == BLOCKS_CACHE:
            settings |= {"cache_dim": self.settings["block_dim"], "sketch_kind": "blocks"}
        if cache == JOURNEY_CACHE:
            # Its timesteps are those of sampling.
            settings = leave_out(settings, "timesteps") | _fresh_noise(settings)
        if checkpoint_step(cache) is not None:
            # The training samples have the timesteps that they were last trained with.
            settings = leave_out(settings, "timesteps")
            if split != "train":
                count = self.options["tracin_timesteps"]
                timesteps = {"count": count, "custom": even_timesteps(count), "grid": "custom"}
                settings |= _fresh_noise(settings) | {"timesteps": timesteps}
        return pick(settings, *settings)

    @property
    def lissa_gradients(self) -> dict[str, Any]:
        """The settings of gradients that LiSSA's answers depend on."""
        return pick(self.settings, "parameters", "timesteps", "noise", "cache_dim", "sketch_kind", "sketch_seed")

    @property
    def lissa_settings(self) -> dict[str, Any]:
        """LiSSA's own settings."""
        return {
            "batch": self.options["lissa_batch"],
            "damping": self.options["lissa_damping"],
            "products": self.options["lissa_products"],
            "seed": self.options["seed"],
        }


def even_timesteps(count: int) -> list[int]:
    """Return ``count`` timesteps from 1 to 999, evenly spaced."""
    return [500] if count == 1 else [1 + round(998 * place / (count - 1)) for place in range(count)]


def _fresh_noise(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under which no query shares its noise with another or with training."""
    return {"noise": {**settings["noise"], "policy": "by_id"}}
