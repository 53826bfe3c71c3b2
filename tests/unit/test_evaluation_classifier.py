"""The shipped classifier of digits, on clean drawings and on generated grounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.evaluation.classifier_training import train_classifier
from dmin.models.classifier import Classifier, level_ground, load_classifier
from dmin.runtime.errors import UserError
from dmin.settings.config import ClassifierTraining

MNIST = Path(__file__).parents[2] / "resources" / "mnist"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier(MNIST / "classifier.safetensors")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of 300 digits."""
    table = read_samples(MNIST / "digits.parquet").iloc[:300]
    return sample_pixels(table), table["label"].astype(str).to_numpy()


def test_digits_are_told(classifier: Classifier, digits: tuple[np.ndarray, np.ndarray]) -> None:
    found, confidence = classifier.classify(digits[0])
    assert (found == digits[1]).mean() > 0.98
    assert confidence.dtype == np.float32 and confidence.min() > 0 and confidence.max() <= 1


def test_ground_of_a_generated_digit_changes_nothing(
    classifier: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels = digits[0]
    dim = np.maximum(pixels.astype(float) * 0.8, 14).round().astype(np.uint8)
    found, confidence = classifier.classify(pixels)
    dim_found, dim_confidence = classifier.classify(dim)
    assert (found == dim_found).mean() > 0.99
    assert (dim_confidence > 0.9).mean() > 0.95 * (confidence > 0.9).mean()


def test_level_ground() -> None:
    drawing = torch.full((1, 1, 4, 4), -0.8)
    drawing[0, 0, 1, :3] = torch.tensor([0.6, -0.1, -0.9])
    levelled = level_ground(drawing)
    assert levelled[0, 0, 1, :3].tolist() == pytest.approx([1, 0, -1], abs=1e-6)
    assert levelled[0, 0, 0].tolist() == [-1] * 4
    assert level_ground(torch.full((1, 1, 4, 4), 0.3)).eq(-1).all()
    clean = torch.full((1, 1, 4, 4), -1.0)
    clean[0, 0, 2, 2] = 1
    assert torch.equal(level_ground(clean), clean)


def test_classifier_is_trained_in_a_single_step(tmp_path: Path) -> None:
    table = read_samples(MNIST / "digits.parquet", ["image", "label"]).groupby("label").head(2)
    write_samples(table.astype({"label": str}), tmp_path / "digits.parquet")
    digits = str(tmp_path / "digits.parquet")
    training: ClassifierTraining = {
        "train": digits, "test": digits, "image_column": "image", "label_column": "label", "size": 28,
        "channels": [2, 2, 2], "epochs": 1, "batch_size": 64, "learning_rate": 1e-2, "weight_decay": 0.0,
        "rotation": 0.0, "shift": 0.0, "scale": 0.0, "seed": 1,
    }  # fmt: skip
    train_classifier(training, tmp_path / "classifier.safetensors")
    trained = load_classifier(tmp_path / "classifier.safetensors")
    assert trained.classes == tuple("0123456789")
    facts = json.loads((tmp_path / "classifier.json").read_text())
    assert facts["test_images"] == 20 and facts["share_above_90"] == 0 and facts["accuracy_above_90"] is None


def test_file_that_is_no_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^File '.*' does not exist; set queries.classifier.path"):
        load_classifier(tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    (tmp_path / "torn.json").write_text('{"classes": ["0", "1"], "size": 28, "channels": [4, 4, 4]}')
    with pytest.raises(UserError, match=r"cannot be loaded .*; make it again"):
        load_classifier(tmp_path / "torn.safetensors")
