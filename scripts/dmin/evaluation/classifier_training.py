"""Training of the classifier that tells the class of a generated image."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from dmin.data.images import decode_image, image_to_array
from dmin.data.samples import image_bytes, iter_samples
from dmin.models.classifier import ClassifierNetwork, description_of, load_classifier, to_pixels
from dmin.runtime.atomic import atomic_path, write_json
from dmin.runtime.seeds import derive_generator, derive_seed
from dmin.settings.config import ClassifierTraining

log = logging.getLogger(__name__)


def train_classifier(config: ClassifierTraining, weights: Path) -> None:
    """Train a classifier on labelled images and write its weights in half precision and its description.

    Every image is turned, scaled and moved a little at random. AdamW; the learning rate rises over the first tenth of
    the steps and then falls to zero as a cosine. The accuracies in the description are those of the written weights,
    over all test images and over the share of them with at least .9 confidence.

    Args:
        config: ``train, test`` are parquet files.
        weights: safetensors file to make; its JSON description is made beside it.
    """
    images, labels = read_labelled(config["train"], config)
    classes = sorted(set(labels))
    targets = torch.tensor([classes.index(label) for label in labels])
    log.info("%d images of %d classes", len(images), len(classes))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config["seed"], "initial weights"))
        network = ClassifierNetwork(config["size"], len(classes), tuple(config["channels"]))
        _train(network, to_pixels(images), targets, config)
    half = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    facts = {"classes": classes, "size": config["size"], "channels": config["channels"], "recipe": dict(config)}
    with atomic_path(weights) as temporary:
        save_file(half, temporary)
    write_json(facts, description_of(weights))
    write_json({**facts, **measure(weights, config)}, description_of(weights))


def measure(weights: Path, config: ClassifierTraining) -> dict[str, Any]:
    """Return the accuracy of a written classifier on the test images: over all, and over the sure ones where any is."""
    images, labels = read_labelled(config["test"], config)
    found, confidence = load_classifier(weights).classify(images)
    right, sure = found == np.array(labels), confidence >= 0.9
    log.info("accuracy %.4f on %d test images", right.mean(), len(right))
    return {
        "parameters": sum(value.numel() for value in load_classifier(weights).network.parameters()),
        "test_images": len(right),
        "accuracy": round(float(right.mean()), 4),
        "share_above_90": round(float(sure.mean()), 4),
        "accuracy_above_90": round(float(right[sure].mean()), 4) if sure.any() else None,
    }


def read_labelled(path: str, config: ClassifierTraining) -> tuple[np.ndarray, list[str]]:
    """Return the grey images ``[n, size, size, 1]``, uint8, and the labels as text of a parquet file."""
    pixels, labels = [], []
    for number, row in enumerate(iter_samples(Path(path), (config["image_column"], config["label_column"]))):
        data = image_bytes(row[config["image_column"]], [Path(path).absolute().parent])
        pixels.append(image_to_array(decode_image(data, f"{path} {number}", config["size"], "L")))
        labels.append(str(row[config["label_column"]]))
    return np.stack(pixels), labels


def _train(network: ClassifierNetwork, pixels: torch.Tensor, targets: torch.Tensor, config: ClassifierTraining) -> None:
    """Train ``network`` in place; dropout draws from the global generator, which the caller has seeded."""
    batch, generator = config["batch_size"], derive_generator(config["seed"], "order and augmentation")
    per_epoch = math.ceil(len(pixels) / batch)
    total = per_epoch * config["epochs"]
    optimizer = torch.optim.AdamW(network.parameters(), config["learning_rate"], weight_decay=config["weight_decay"])
    warm = max(1, total // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / max(1, total - warm))),
    )
    network.train()
    for epoch in range(config["epochs"]):
        losses = []
        for part in torch.randperm(len(pixels), generator=generator).split(batch):
            moved = move(pixels[part], config["rotation"], config["shift"], config["scale"], generator)
            loss = F.cross_entropy(network(moved), targets[part])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        log.info("epoch %d of %d: mean loss %.4f", epoch + 1, config["epochs"], np.mean(losses))
    network.eval()


def move(pixels: torch.Tensor, rotation: float, shift: float, scale: float, generator: torch.Generator) -> torch.Tensor:
    """Turn by up to ``rotation`` degrees, scale by up to ``1 +- scale`` and move by up to ``shift`` pixels.

    Each of ``pixels [batch, 1, size, size]`` in its own way, uniform, bilinear; what comes in from outside is black.
    """
    draws = 2 * torch.rand(4, len(pixels), generator=generator) - 1
    angle, factor = draws[0] * math.radians(rotation), 1 + draws[1] * scale
    x, y = draws[2:] * 2 * shift / pixels.shape[-1]
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    matrix = torch.stack([torch.stack([cosine, -sine, x], 1), torch.stack([sine, cosine, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels + 1, grid, align_corners=False) - 1
