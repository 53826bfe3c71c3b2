"""The methods that read images, prompts or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from schema_defaults import options
from skimage.metrics import structural_similarity

from dmin.attribution import image_blocks
from dmin.attribution.methods import ssim
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import METHODS
from dmin.data.images import encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import write_samples
from dmin.evaluation.detection import detection_rates
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

PROMPTS = ["a red car", "a blue car", "a Green tree", "two red-green trees", "a digit nine", "a car of a car"]


def table(pixels: np.ndarray, name: str = "t", prompts: Sequence[Any] | None = None) -> pd.DataFrame:
    """Return a sample table of uint8 images ``[n, h, w, channels]``."""
    images = [Image.fromarray(array[:, :, 0] if array.shape[-1] == 1 else array) for array in pixels]
    return pd.DataFrame(
        {
            "id": [f"{name}/{n}" for n in range(len(pixels))],
            "subset": "a",
            "prompt": list(prompts or [""] * len(pixels)),
            "image": [{"bytes": encode_png(image), "path": None} for image in images],
        }
    )


def draw(count: int, seed: int, side: int = 16, channels: int = 3) -> np.ndarray:
    """Return smooth random images with some noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (count, 4, 4, channels))
    images = coarse.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    return (images + generator.normal(0, 20, images.shape)).clip(0, 255).astype(np.uint8)


def run(method: str, queries: pd.DataFrame, train: pd.DataFrame, batch: int = 64, **changes: Any) -> np.ndarray:
    with TemporaryDirectory() as folder:
        rows = []
        for name, frame in (("queries", queries), ("train", train)):
            write_samples(frame, Path(folder) / f"{name}.parquet")
            rows.append(SampleRows(Path(folder) / f"{name}.parquet"))
        values, _ = METHODS[method].run(*rows, options(**changes), {}, Pace("cpu", batch))
    assert values.shape == (len(queries), len(train)) and values.dtype == np.float32
    return values


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP model in a folder."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            text_config={**size, "vocab_size": 50, "projection_dim": 8},
            vision_config={**size, "image_size": 16, "patch_size": 8, "projection_dim": 8},
            projection_dim=8,
        )
    ).save_pretrained(folder)
    crop = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=crop).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["pixels", "ssim", "clip", "text"])
def test_exact_duplicates_rank_first(method: str, clip: Path) -> None:
    pixels = draw(6, 0)
    pixels[5] = pixels[1]
    prompts = [*PROMPTS[:5], PROMPTS[1]]
    train = table(pixels, "t", prompts)
    scores = run(method, table(pixels[1:3], "q", prompts[1:3]), train, encoder=str(clip))
    assert set(np.argsort(-scores[0], kind="stable")[:2].tolist()) == {1, 5}
    assert scores[1].argmax() == 2
    np.testing.assert_allclose([scores[0, 1], scores[0, 5], scores[1, 2]], 1, atol=1e-5)
    assert (np.delete(scores[0], [1, 5]) < 1 - 1e-4).all()


@pytest.mark.parametrize("method", ["pixels", "ssim", "clip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_do_not_change_image_scores(
    method: str, channels: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, train = table(draw(3, 0, 16, channels), "q"), table(draw(7, 1, 16, channels))
    whole = run(method, queries, train, encoder=str(clip))
    monkeypatch.setattr(image_blocks, "BLOCK_BYTES", 3 * 4 * 16 * 16 * channels)
    monkeypatch.setattr(ssim, "PAIR_VALUES", 1)
    np.testing.assert_allclose(run(method, queries, train, encoder=str(clip), batch=2), whole, atol=1e-6)


def test_pixels_are_cosines_in_minus_one_to_one() -> None:
    left, right = draw(2, 0), draw(5, 1)
    scores = run("pixels", table(left, "q"), table(right))
    for q, query in enumerate(left.reshape(2, -1) / 127.5 - 1):
        for i, image in enumerate(right.reshape(5, -1) / 127.5 - 1):
            cosine = query @ image / np.linalg.norm(query) / np.linalg.norm(image)
            assert scores[q, i] == pytest.approx(cosine, abs=1e-5)
    inverted = run("pixels", table(left, "q"), table(255 - left))
    np.testing.assert_allclose(np.diagonal(inverted), -1, atol=1e-5)


@pytest.mark.parametrize(("side", "channels"), [(11, 3), (16, 1), (32, 3)])
def test_ssim_is_the_reference(side: int, channels: int) -> None:
    left, right = draw(3, 0, side, channels), draw(6, 1, side, channels)
    # Flat, equal and nearly equal images, where differences of squares lose digits.
    right[0], right[1], right[2] = 255, left[0], left[1] // 2 + 60
    left[2] = 250
    scores = run("ssim", table(left, "q"), table(right))
    for q, query in enumerate(left / 255):
        for i, image in enumerate(right / 255):
            expected = structural_similarity(
                query, image, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1,
                data_range=1,
            )  # fmt: skip
            assert scores[q, i] == pytest.approx(expected, abs=1e-6)


def test_ssim_averages_large_images_down() -> None:
    left, right = draw(1, 0, 512), draw(2, 1, 512)
    whole = run("ssim", table(left, "q"), table(right))
    # Pixels in equal squares of four, so that averaging rounds nothing.
    halved = [array[:, ::2, ::2] for array in (left, right)]
    doubled = [array.repeat(2, 1).repeat(2, 2) for array in halved]
    small = run("ssim", table(halved[0], "q"), table(halved[1]))
    np.testing.assert_allclose(run("ssim", table(doubled[0], "q"), table(doubled[1])), small, atol=1e-5)
    assert np.isfinite(whole).all()


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="SSIM needs images of at least 11 pixels, but they are 8 x 8"):
        run("ssim", table(draw(1, 0, 8), "q"), table(draw(1, 1, 8)))
    for method in ("pixels", "ssim"):
        with pytest.raises(UserError, match=r"shape \(32, 32, 3\), the queries \(16, 16, 3\); make both with one size"):
            run(method, table(draw(1, 0), "q"), table(draw(2, 1, 32)))


def test_text_is_tf_idf_cosine() -> None:
    train = [*PROMPTS, "", None]
    queries = ["red CAR, red!", "unknown words", ""]
    scores = run("text", table(draw(3, 0), "q", queries), table(draw(8, 1), "t", train))
    words = [(text or "").lower().replace("-", " ").replace(",", "").replace("!", "").split() for text in train]
    asked = [text.lower().replace(",", "").replace("!", "").split() for text in queries]

    def vector(text: list[str]) -> dict[str, float]:
        df = {word: sum(word in other for other in words) for word in text}
        return {word: n * (np.log((1 + len(words)) / (1 + df[word])) + 1) for word, n in Counter(text).items()}

    for q, left in enumerate(map(vector, asked)):
        for i, right in enumerate(map(vector, words)):
            lengths = [np.sqrt(sum(value**2 for value in side.values())) for side in (left, right)]
            dot = sum(value * right.get(word, 0) for word, value in left.items())
            assert scores[q, i] == pytest.approx(dot / np.prod(lengths) if all(lengths) else 0, abs=1e-6)
    # A rare word counts more than a frequent one.
    assert scores[0].argmax() == 0
    assert not scores[1:].any() and not scores[:, 6:].any()


@pytest.mark.parametrize("side", ["query", "training sample"])
def test_text_without_prompts_is_refused(side: str) -> None:
    empty, full = table(draw(2, 0), "e", ["", None]), table(draw(2, 0), "f", PROMPTS[:2])
    with pytest.raises(UserError, match=f"Method text needs prompts, but no {side} has one"):
        run("text", *((empty, full) if side == "query" else (full, empty)))


def test_random_is_uniform_and_its_detection_rate_chance() -> None:
    subsets = np.repeat(["a", "b", "noise"], [30, 60, 10])
    train = pd.DataFrame({"id": [f"t/{n}" for n in range(100)], "subset": subsets})
    queries = pd.DataFrame({"id": [f"q/{n}" for n in range(1000)], "subset": np.repeat(["a", "b"], 500)})
    scores = run("random", queries, train, seed=3)
    assert scores.min() >= 0 and scores.max() < 1
    assert np.abs(np.histogram(scores, 10, (0, 1))[0] / scores.size - 0.1).max() < 0.005
    known = dict(zip([*train["id"], *queries["id"]], [*train["subset"], *queries["subset"]], strict=True))
    top = rank_top(scores, queries["id"].tolist(), train["id"].tolist(), known, 10)
    rows = detection_rates(top, {"a": 0.3, "b": 0.6}, {"k": [10], "confidence": 0.95})
    for row in rows:
        # Three standard errors of a hypergeometric share.
        assert row["rate"] == pytest.approx(row["chance"], abs=3 * 0.5 / np.sqrt(10 * row["queries"]))


def test_random_depends_on_ids_and_seed_alone() -> None:
    train = pd.DataFrame({"id": [f"t/{n}" for n in range(20)]})
    queries = pd.DataFrame({"id": ["q/1", "q/2", "q/3"]})
    scores = run("random", queries, train, seed=3)
    np.testing.assert_array_equal(run("random", queries[1:], train, seed=3), scores[1:])
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(run("random", queries, train.iloc[order], seed=3), scores[:, order])
    assert np.abs(run("random", queries, train, seed=4) - scores).mean() > 0.1


def test_clip_scores_are_cosines_of_projected_embeddings(clip: Path) -> None:
    import torch
    from transformers import CLIPImageProcessorPil, CLIPModel

    left, right = draw(2, 0, 24), draw(3, 1, 24)
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPImageProcessorPil.from_pretrained(clip)

    def embed(pixels: np.ndarray) -> torch.Tensor:
        images = [Image.fromarray(array) for array in pixels]
        with torch.no_grad():
            output = model.vision_model(**processor(images=images, return_tensors="pt"))
            return model.visual_projection(output.pooler_output)

    expected = torch.nn.functional.cosine_similarity(embed(left)[:, None], embed(right)[None], dim=-1)
    scores = run("clip", table(left, "q"), table(right), encoder=str(clip))
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)


def test_efficientnet_stands_in_for_clip() -> None:
    pixels = draw(3, 0)
    scores = run("clip", table(pixels[:2], "q"), table(pixels), encoder="efficientnet")
    np.testing.assert_allclose(np.diagonal(scores), 1, atol=1e-5)
    assert scores.argmax(1).tolist() == [0, 1]


def test_clip_that_cannot_be_loaded_is_refused(clip: Path, tmp_path: Path) -> None:
    frame = table(draw(1, 0))
    with pytest.raises(UserError, match=r"CLIP model '.*nowhere' cannot be loaded .*set encoder to a folder"):
        run("clip", frame, frame, encoder=str(tmp_path / "nowhere"))
    from safetensors.torch import load_file, save_file

    for file in clip.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(clip / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"has no weights for visual_projection\.weight"):
        run("clip", frame, frame, encoder=str(tmp_path))
    save_file({name: value * torch.nan for name, value in load_file(clip / "model.safetensors").items()},
              tmp_path / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match=r"has values in '.*' that are not finite"):
        run("clip", frame, frame, encoder=str(tmp_path))


@pytest.mark.attack("model", "a CLIP whose weights are a pickle", "refused, never opened")
def test_clip_as_a_pickle_is_refused(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for file in clip.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(clip / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"cannot be loaded .*its weights in safetensors, or to efficientnet"):
        run("clip", table(draw(1, 0)), table(draw(1, 0)), encoder=str(tmp_path))
