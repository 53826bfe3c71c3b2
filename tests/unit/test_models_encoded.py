"""Encoded samples on disk, and their making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU, SIZE, random_samples

from dmin.data.images import encode_png
from dmin.data.pixels import pixels_to_tensor, tensor_to_pixels
from dmin.data.samples import write_samples
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.load import load_family
from dmin.models.queries.trajectory import Trajectory
from dmin.models.sealed_tensors import SealedTensors
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 5), (1, 3), (4, 5), (3, 99)])
def test_ranges_of_a_saved_file(tmp_path: Path, start: int, stop: int | None) -> None:
    whole = random_samples(5)
    whole.save(tmp_path / "a.safetensors")
    part = EncodedSamples.load(tmp_path / "a.safetensors", start, stop)
    assert part.ids == whole.ids[start:stop]
    assert torch.equal(part.latents, whole.latents[start:stop])
    assert set(part.conditioning) == set(part.unconditional) == {"prompt_embeds"}
    assert torch.equal(part.conditioning["prompt_embeds"], whole.conditioning["prompt_embeds"][start:stop])
    assert torch.equal(part.unconditional["prompt_embeds"], whole.unconditional["prompt_embeds"])


def test_named_samples_are_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(random_samples(200), tokens={"tokens": torch.arange(200)})
    whole.save(tmp_path / "a.safetensors")
    clean = torch.randn(200, 2, 3, generator=torch.Generator().manual_seed(1))
    Trajectory(whole.ids, [9, 1], clean).save(tmp_path / "t.safetensors")
    read: list[tuple[str, int]] = []
    require = SealedTensors._require

    def count(self: SealedTensors, name: str, found: Sequence[str], first: int) -> None:
        read.extend((name, first + place) for place in range(len(found)) if not name.startswith("unconditional"))
        require(self, name, found, first)

    monkeypatch.setattr(SealedTensors, "_require", count)
    places = [70, 3, 199, 71, 3, *range(64, 128)]
    ids = [whole.ids[place] for place in places]
    for found in (
        EncodedSamples.load_named(tmp_path / "a.safetensors", ids),
        EncodedSamples.load_at(tmp_path / "a.safetensors", places),
    ):
        assert list(found.ids) == ids and torch.equal(found.latents, whole.latents[places])
        assert found.tokens["tokens"].tolist() == places
        assert torch.equal(found.conditioning["prompt_embeds"], whole.conditioning["prompt_embeds"][places])
        assert torch.equal(found.unconditional["prompt_embeds"], whole.unconditional["prompt_embeds"])
    trajectory = Trajectory.load_named(tmp_path / "t.safetensors", ids)
    assert list(trajectory.ids) == ids and torch.equal(trajectory.clean, clean[places])
    times = Counter(read)
    assert {block for _, block in times} == {0, 1, 3}, "the three that hold them"
    once = {"latents": 2, "conditioning/prompt_embeds": 2, "tokens/tokens": 2, "clean": 1}
    assert {name: times[name, 1] for name, _ in times} == once and max(times.values()) == 2, "once by each"
    with pytest.raises(UserError, match="has no sample 'b/0'"):
        EncodedSamples.load_named(tmp_path / "a.safetensors", ["a/0", "b/0"])


def test_repeats_are_kept(tmp_path: Path) -> None:
    whole = replace(random_samples(5), repeats=torch.tensor([1, 4, 2, 1, 3]))
    whole.save(tmp_path / "a.safetensors")
    part = EncodedSamples.load(tmp_path / "a.safetensors", 1, 3)
    assert part.repeats is not None and part.repeats.tolist() == [4, 2]
    assert part.rows(1, 2).repeats == torch.tensor([2]) and part.entries.tolist() == [0, 0, 0, 0, 1, 1]
    random_samples(5).save(tmp_path / "b.safetensors")
    assert EncodedSamples.load(tmp_path / "b.safetensors").repeats is None


def test_repeats_are_encoded_with_the_samples(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    images = [{"bytes": encode_png(Image.new("RGB", (SIZE, SIZE), (n, 0, 0))), "path": None} for n in range(3)]
    table = {"id": list("abc"), "prompt": list("xyz"), "image": pd.Series(images)}
    for repeats, expected in (([1, 1, 1], None), ([1, 5, 2], [1, 5, 2])):
        write_samples(pd.DataFrame({**table, "repeats": repeats}), tmp_path / "in.parquet")
        encode_samples(tmp_path / "in.parquet", tiny_base, tmp_path / "out.safetensors", Pace("cpu", 2))  # type: ignore[arg-type]
        found = EncodedSamples.load(tmp_path / "out.safetensors").repeats
        assert (None if found is None else found.tolist()) == expected


@pytest.mark.fault("encoded samples truncated", "refused and named")
@pytest.mark.parametrize("keep", [0, 4, 100, 3000, -1])
def test_torn_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    random_samples(5).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"File of encoded samples '.*a\.safetensors' is torn or foreign"):
        EncodedSamples.load(path)


def test_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match=r"a\.safetensors'"):
        EncodedSamples.load(path)
    for metadata in (None, {"format": "pt"}):
        save_file({"latents": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(UserError, match=r"a\.safetensors' is torn or foreign"):
            EncodedSamples.load(path)


def test_samples_are_encoded_alike_in_any_batch(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[4] = pixels[0]
    prompts = ["a red flag", "a blue brick", "a green sprite", "a", "a red flag"]
    frame = pd.DataFrame({"id": [f"s/{number}" for number in range(5)], "prompt": prompts})
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    write_samples(frame.assign(image=images), tmp_path / "train.parquet")
    made = []
    for batch in (2, 5):
        out = tmp_path / f"{batch}.safetensors"
        encode_samples(tmp_path / "train.parquet", tiny_base, out, Pace("cpu", batch))
        made.append(EncodedSamples.load(out))
    small, large = made
    assert small.ids == large.ids == frame["id"].tolist()
    assert torch.allclose(small.latents, large.latents, atol=1e-5)
    assert torch.equal(large.latents[0], large.latents[4])

    family = load_family(tiny_base, CPU, ["encoders"])
    embeddings, empty = (family.encode_prompts(texts)["prompt_embeds"] for texts in (prompts, [""]))
    assert torch.allclose(small.conditioning["prompt_embeds"], embeddings, atol=1e-5)
    assert torch.allclose(small.unconditional["prompt_embeds"], empty, atol=1e-5)
    assert torch.allclose(large.latents, family.encode_images(pixels_to_tensor(pixels)), atol=1e-5)


def test_pixels_survive_the_way_to_tensors_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    tensor = pixels_to_tensor(pixels)
    assert tensor.shape == (1, 3, 16, 16) and tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(tensor_to_pixels(tensor), pixels)
    assert tensor_to_pixels(torch.full((1, 1, 1), 3.0)).item() == 255


def test_long_and_foreign_prompts_are_counted_and_cut(
    tiny_base: Mapping[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = ["a red flag", "a red flag " * 40, "", "أحمر", "赤い旗"]
    image = {"bytes": encode_png(Image.new("RGB", (SIZE, SIZE))), "path": None}
    names = [f"x/{number}" for number in range(len(prompts))]
    write_samples(
        pd.DataFrame({"id": names, "prompt": prompts, "image": [image] * len(prompts)}), tmp_path / "in.parquet"
    )
    encode_samples(tmp_path / "in.parquet", tiny_base, tmp_path / "out.safetensors", Pace("cpu", 2))
    family = load_family(tiny_base, CPU, ["encoders"])
    long = family.long_prompts(prompts)
    assert 1 in long and 0 not in long and 2 not in long
    assert int(load_file(tmp_path / "out.safetensors")["truncated"]) == len(long)
    assert f"{len(long)} of 5 prompts are longer than the text encoder takes, and cut (x/1)" in caplog.text
    assert torch.isfinite(EncodedSamples.load(tmp_path / "out.safetensors").conditioning["prompt_embeds"]).all()
