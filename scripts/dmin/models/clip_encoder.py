"""CLIP: embeddings of images and of texts that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.tokens import require_tokenizer_files, require_vocabulary
from dmin.models.gate.words import reason
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError


class ClipEncoder:
    """A CLIP model from a folder or the hub; embeddings are those after the projection."""

    def __init__(self, name: str, revision: str | None, device: str) -> None:
        """Load the model.

        Raises:
            UserError: it is none, has no weights in safetensors for some part, or values that are not finite.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel  # here: EfficientNet needs neither

        self._name, self._revision, self._device = name, revision, resolve_device(device)
        try:
            self._processor = CLIPImageProcessorPil.from_pretrained(name, revision=revision)
            model, report = _load(CLIPModel, name, revision)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # transformers raises whatever it likes over a foreign folder.
            raise UserError(
                f"CLIP model '{name}' cannot be loaded ({reason(error)}); set encoder to a folder or a CLIP model on "
                f"the hub, its weights in safetensors, or to efficientnet."
            ) from error
        bad = first_not_finite(model.named_parameters())
        if bad is not None:
            raise UserError(f"CLIP model '{name}' has values in '{bad}' that are not finite; download it again.")
        if report["missing_keys"]:
            # transformers would go on with random weights.
            raise UserError(
                f"CLIP model '{name}' has no weights for {min(report['missing_keys'])}; set encoder to a whole CLIP "
                f"model, or to efficientnet."
            )
        self._model = model.to(self._device).eval()

    @torch.no_grad()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Return unit embeddings, float32 ``[n, d]``, of uint8 images ``[n, height, width, 3]``."""
        inputs = self._processor(images=list(pixels), return_tensors="pt", input_data_format="channels_last")
        return _unit(self._model.get_image_features(inputs["pixel_values"].to(self._device)))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit embeddings, float32 ``[n, d]``; what is too long for the model is cut.

        Raises:
            UserError: the model has no tokenizer.
        """
        from transformers import CLIPTokenizer

        vocabulary = self._model.config.text_config.vocab_size
        try:
            if Path(self._name).is_dir():
                require_tokenizer_files(Path(self._name))
            tokenizer = CLIPTokenizer.from_pretrained(self._name, revision=self._revision)
            require_vocabulary(tokenizer, self._name, vocabulary)
        except Exception as error:
            raise UserError(
                f"CLIP model '{self._name}' has no tokenizer that can be loaded ({reason(error)}); set encoder to a "
                "whole CLIP model, or to efficientnet."
            ) from error
        most = self._model.config.text_config.max_position_embeddings
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
        return _unit(self._model.get_text_features(**tokens.to(self._device)))


def _unit(output: Any) -> np.ndarray:
    # transformers 4 returns the embedding itself.
    embedding = output if isinstance(output, torch.Tensor) else output.pooler_output
    return F.normalize(embedding.float(), dim=1).cpu().numpy()


def _load(kind: Any, name: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    return kind.from_pretrained(
        name, revision=revision, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
