"""Behaviours: distances with closed forms, and what a member is called in tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from checkout import PROJECT
from PIL import Image
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from tiny_families import build_ddpm

from dmin.catalogue.behaviours import BEHAVIOURS
from dmin.data import samples
from dmin.data.images import encode_png, image_to_array
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.games import embed
from dmin.games.behaviours import class_share, entropy, inception_score, local_l2
from dmin.games.bound import lower_bounds
from dmin.games.embed import embed_train
from dmin.games.feature_distances import covered_share, frechet_distance, kernel_distance, nearest_cluster
from dmin.games.feature_files import read_features, write_features
from dmin.games.features import open_encoder
from dmin.games.inception import WIDTH, Inception, load_inception
from dmin.games.measure import value_name
from dmin.games.measured import Measured, ReferenceFiles, References
from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_family
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.games import Encoder

RANDOM = np.random.default_rng(0)


class Told:
    """A classifier that is told what it sees: the first value of each image."""

    classes = ("0", "1", "2", "3")

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[images[:, 0, 0, 0]]

    def classify(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.classes)[images[:, 0, 0, 0]], np.ones(len(images))


def images_of(classes: list[int]) -> Measured:
    return Measured(given_images=np.array(classes, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3))


def against(**given: object) -> References:
    references = References(ReferenceFiles(), [1], 0, 4, None, 1)
    for name, value in given.items():
        # A cached property is read from here.
        references.__dict__[name] = value
    return references


@pytest.mark.parametrize(("first", "second"), [(300, 400), (12, 9)])
def test_frechet_distance_is_that_of_the_formula(first: int, second: int) -> None:
    x, y = RANDOM.normal(size=(first, 20)), RANDOM.normal(0.5, 2.0, size=(second, 20))
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(20 * 9)


def test_kernel_distance_is_unbiased_and_grows_with_the_shift() -> None:
    same = [kernel_distance(*RANDOM.normal(size=(2, 60, 8))) for _ in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(60) + 1e-3
    x, y = RANDOM.normal(size=(2, 60, 8))
    assert kernel_distance(x, y + 2) > kernel_distance(x, y + 1) > max(same)


def test_precision_and_recall_of_what_covers_half() -> None:
    real = np.concatenate([RANDOM.normal(0, 1, (200, 2)), RANDOM.normal(50, 1, (200, 2))])
    fake = RANDOM.normal(0, 1, (200, 2))
    assert covered_share(fake, real) > 0.9, "what is generated is real"
    assert 0.4 < covered_share(real, fake) < 0.5, "half of what is real is not generated"


def test_clusters_are_those_of_training_images() -> None:
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    train = np.concatenate([RANDOM.normal(centre, 0.1, (20, 2)) for centre in centres])
    found = nearest_cluster(centres[[0, 1, 1, 2]], train, 3)
    assert found[1] == found[2] and len(set(found)) == 3


def test_scores_of_a_classifier() -> None:
    judge = against(classifier=Told())
    assert inception_score.measure(images_of([0, 1, 2, 3]), judge)[""] == pytest.approx(4)
    assert inception_score.measure(images_of([2, 2]), judge)[""] == pytest.approx(1)
    assert entropy.measure(images_of([0, 0, 1, 2]), judge)[""] == pytest.approx(1.5)
    assert entropy.measure(images_of([3]), judge)[""] == 0
    assert class_share.measure(images_of([0, 0, 1, 2]), judge) == {"0": 0.5, "1": 0.25, "2": 0.25, "3": 0.0}


def test_difference_is_of_the_query_alone() -> None:
    judge = against(query_image=np.full((1, 1, 3), 51, dtype=np.uint8))
    assert local_l2.measure(images_of([255, 0]), judge)[""] == pytest.approx(0.04)


def test_bound_is_below_that_of_a_better_model(tmp_path: Path) -> None:
    family = load_family(build_ddpm(tmp_path / "base"), torch.device("cpu"), ["denoiser"])
    latents = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoded = EncodedSamples(["a", "b", "c"], latents, {}, {})
    steps = [1, 200, 400, 600, 800, 999]
    found = lower_bounds(family, encoded, steps, 0, 4)
    assert found.shape == (3,) and torch.allclose(found, lower_bounds(family, encoded, steps, 0, 3), atol=1e-6)

    class Exact(type(family)):  # type: ignore[misc]
        """Knows the noise of what it is given, since it knows the samples."""

        def predict(self, latents, noise, timesteps, conditioning):  # type: ignore[no-untyped-def]
            return noise

    family.__class__ = Exact
    best = lower_bounds(family, encoded, steps, 0, 4)
    # What is left is the likelihood of one of 256 values under a narrow normal at its place.
    assert (best > found).all() and (best <= 0).all() and (best > -8).all()


def test_names_in_tables_tell_part_and_encoder() -> None:
    assert value_name("frechet", "", "efficientnet") == "frechet_efficientnet"
    assert value_name("precision_recall", "recall", "inception") == "precision_recall_inception/recall"
    assert value_name("class_share", "7", "") == "class_share/7" and value_name("elbo", "", "") == "elbo"


def test_every_behaviour_is_described() -> None:
    assert {entry.reads for entry in BEHAVIOURS.values()} == {"images", "features", "model"}
    assert set(BEHAVIOURS) == {
        "class_share", "elbo", "entropy", "frechet", "inception_score", "kid", "local_l2", "local_loss", "mean_loss",
        "precision_recall", "thickness",
    }  # fmt: skip


def test_features_are_kept_by_member(tmp_path: Path) -> None:
    given = {"7/1": RANDOM.normal(size=(3, 4)).astype(np.float32), "6/0": np.ones((2, 4), np.float32)}
    write_features(given, tmp_path / "f.safetensors")
    found = read_features(tmp_path / "f.safetensors")
    assert list(found) == ["7/1", "6/0"] and np.array_equal(found["7/1"], given["7/1"])
    written = (tmp_path / "f.safetensors").read_bytes()
    (tmp_path / "f.safetensors").write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    with pytest.raises(UserError, match=r"Features '.*' is torn or foreign \(it fails the checksum"):
        read_features(tmp_path / "f.safetensors")
    save_file({"000000": torch.ones(2, 4)}, tmp_path / "f.safetensors", {"members": '["6/0"]'})
    assert np.array_equal(read_features(tmp_path / "f.safetensors")["6/0"], given["6/0"]), "without checksums"
    (tmp_path / "f.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="torn or foreign"):
        read_features(tmp_path / "f.safetensors")


def test_features_of_the_classifier_are_few_and_tell_digits_apart() -> None:
    images = read_samples(PROJECT / "resources" / "mnist" / "digits.parquet", ["image", "label"])
    two = images[images["label"].astype(int) < 2].groupby("label").head(30)
    weights = str(PROJECT / "resources" / "mnist" / "classifier.safetensors")
    found = open_encoder({"kind": "classifier", "path": weights}, Pace("cpu", 7))(sample_pixels(two))
    assert found.shape == (60, 96) and found.dtype == np.float32
    zeros, ones = (found[(two["label"].astype(int) == digit).to_numpy()] for digit in (0, 1))
    assert frechet_distance(zeros[:15], ones[:15]) > 3 * frechet_distance(zeros[:15], zeros[15:])


@pytest.mark.parametrize("kind", ["classifier", "efficientnet"])
def test_training_images_are_embedded_a_block_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    weights = str(PROJECT / "resources" / "mnist" / "classifier.safetensors")
    encoder: Encoder = {"kind": kind, "path": weights if kind == "classifier" else None}  # type: ignore[typeddict-item]
    shape = (30, 28, 28, 1) if kind == "classifier" else (9, 32, 32, 3)
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    images = [{"bytes": encode_png(Image.fromarray(image.squeeze())), "path": None} for image in pixels]
    write_samples(pd.DataFrame({"id": [f"s{row}" for row in range(len(pixels))], "image": images}), tmp_path / "in")
    # As many as the batches of 4 that hold at least 5.
    monkeypatch.setattr(embed, "DECODED", 5)
    decoded = []
    monkeypatch.setattr(samples, "image_to_array", lambda image: decoded.append(1) or image_to_array(image))

    def opened(*given: Any) -> Callable[[np.ndarray], np.ndarray]:
        def encode(block: np.ndarray) -> np.ndarray:
            assert len(decoded) == len(block) == min(8, len(pixels) - 8 * len(blocks))
            blocks.append(len(block))
            decoded.clear()
            return open_encoder(*given)(block)

        return encode

    blocks: list[int] = []
    monkeypatch.setattr(embed, "open_encoder", opened)
    embed_train(tmp_path / "in", encoder, tmp_path / "out", Pace("cpu", 4))
    (found,) = read_features(tmp_path / "out").values()
    order = np.random.default_rng(0).permutation(len(pixels))
    expected = open_encoder(encoder, Pace("cpu", 4))(pixels[order])
    assert sum(blocks) == len(pixels) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_training_images_of_two_sizes_are_not_embedded(tmp_path: Path) -> None:
    images = [{"bytes": encode_png(Image.new("RGB", (side, 8))), "path": None} for side in (8, 8, 16)]
    rows = pd.DataFrame({"id": ["a", "b", "c"], "image": images})
    for frame, sentence in ((rows, "Image 'c' has shape .8, 16, 3. where the images before"), (rows[:0], "no rows")):
        write_samples(frame, tmp_path / "in")
        with pytest.raises(UserError, match=sentence):
            embed_train(tmp_path / "in", {"kind": "efficientnet", "path": None}, tmp_path / "out", Pace("cpu", 2))


def test_inception_has_the_published_names_and_width(tmp_path: Path) -> None:
    network = Inception().eval()
    names = set(network.state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch_pool.bn.running_mean", "Mixed_6e.branch7x7dbl_5.conv.weight",
            "Mixed_7c.branch3x3dbl_3b.conv.weight"} <= names  # fmt: skip
    # torchvision's Inception v3 without its last layer and its auxiliary one.
    assert sum(value.numel() for value in network.parameters()) == 21_785_568
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 299, 299)).shape == (1, WIDTH)
    save_file({**network.state_dict(), "fc.weight": torch.ones(1008, WIDTH)}, tmp_path / "inception.safetensors")
    assert not load_inception(tmp_path / "inception.safetensors").training
    save_file({"fc.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="are not those of FID's Inception"):
        load_inception(tmp_path / "other.safetensors")
