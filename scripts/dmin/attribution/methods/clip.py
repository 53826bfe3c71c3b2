"""Cosine of image embeddings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dmin.attribution.settings import EFFICIENTNET, encoder_name
from dmin.data.sample_rows import SampleRows
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.words import reason
from dmin.models.image_embedding import DECODED, efficientnet_embeddings
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options

log = logging.getLogger(__name__)

METHOD = {
    "inputs": "samples",
    "summary": "How alike the images are to an image encoder.",
    "score": "cosine of image embeddings",
    "range": "[-1, 1]",
    "label": "CLIP image cosine",
    "look": ("#E69F00", "^", "dashed"),
    "columns": ("image",),
    "options": ("encoder", "revision"),
    "device": True,
}

# Embeddings held at once: products of narrow blocks round otherwise than those of all.
EMBEDDED = 4096


def scores(queries: SampleRows, train: SampleRows, options: Options, pace: Pace) -> np.ndarray:
    """Return the cosine of the images' embeddings, float32 ``[queries, train]`` in [-1, 1].

    Args:
        options: ``encoder``, a CLIP model's hub name or folder (embeddings after the projection), or
            ``efficientnet`` where no CLIP is at hand; ``revision`` of a model on the hub.

    Raises:
        UserError: an image is unreadable, or the model cannot be loaded.

    Source: CLIP.
    """
    embed: Callable[[np.ndarray], np.ndarray]
    if options["encoder"] == EFFICIENTNET:
        log.warning("clip embeds with EfficientNet-Lite0, which is no CLIP; name one in influence.options.encoder.")
        rows, embed = DECODED, partial(efficientnet_embeddings, batch=pace.batch)
    else:
        rows, embed = pace.batch, _Clip(options["encoder"], options["revision"], pace.device).embed
    left = np.concatenate([embed(_rgb(block)) for _, block in queries.pixel_blocks(rows)])
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    held: list[np.ndarray] = []
    done = 0
    for places, block in train.pixel_blocks(rows):
        held.append(embed(_rgb(block)))
        if places.stop - done >= EMBEDDED or places.stop == len(train):
            out[:, done : places.stop] = left @ np.concatenate(held).T
            held, done = [], places.stop
    return out


class _Clip:
    def __init__(self, name: str, revision: str | None, device: str) -> None:
        from transformers import CLIPImageProcessorPil, CLIPModel  # here: EfficientNet needs neither

        self._device = resolve_device(device)
        try:
            self._processor = CLIPImageProcessorPil.from_pretrained(name, revision=revision)
            model, report = _load(CLIPModel, name, revision)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # transformers raises whatever it likes over a foreign folder.
            raise UserError(
                f"CLIP model '{name}' cannot be loaded ({reason(error)}); set encoder to a folder or a CLIP model on "
                f"the hub, its weights in safetensors, or to {EFFICIENTNET}."
            ) from error
        bad = first_not_finite(model.named_parameters())
        if bad is not None:
            raise UserError(f"CLIP model '{name}' has values in '{bad}' that are not finite; download it again.")
        if report["missing_keys"]:
            # transformers would go on with random weights.
            raise UserError(
                f"CLIP model '{name}' has no weights for {min(report['missing_keys'])}; set encoder to a whole CLIP "
                f"model, or to {EFFICIENTNET}."
            )
        self._model = model.to(self._device).eval()

    @torch.no_grad()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Return unit embeddings, float32 ``[n, d]``, of uint8 images ``[n, height, width, 3]``."""
        inputs = self._processor(images=list(pixels), return_tensors="pt", input_data_format="channels_last")
        output = self._model.get_image_features(inputs["pixel_values"].to(self._device))
        # transformers 4 returns the embedding itself.
        embedding = output if isinstance(output, torch.Tensor) else output.pooler_output
        return F.normalize(embedding.float(), dim=1).cpu().numpy()


def _load(kind: Any, name: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    return kind.from_pretrained(
        name, revision=revision, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)


def facts(options: Options) -> dict[str, Any]:
    """Return what the scores depend on, as it is recorded beside them."""
    return {"encoder": encoder_name(options["encoder"], options["revision"])}
