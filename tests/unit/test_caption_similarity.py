"""How alike images and captions are to a CLIP model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from dmin.audit.caption_similarity import measure_caption_similarity
from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.models.base.tokenizer import train_tokenizer
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

CAPTIONS = ["a red brick", "a blue flag", "", "a red brick that goes on and on and on and on and on"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP model in a folder, whose texts have at most eight tokens."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = train_tokenizer(CAPTIONS, 20, 8)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**size, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 8, "projection_dim": 8}
    vision = {**size, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def samples(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (len(CAPTIONS), 16, 16, 3), dtype=np.uint8)
    cells: list[Any] = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    ids = [f"t/{place}" for place in range(len(CAPTIONS))]
    frame = pd.DataFrame({"id": ids, "prompt": CAPTIONS, "image": pd.Series(cells, dtype=object)})
    write_samples(frame, folder / "samples.parquet")
    return folder / "samples.parquet"


def test_similarity_is_the_cosine_of_both_embeddings(clip: Path, tmp_path: Path) -> None:
    table = samples(tmp_path)
    found = []
    for batch in (1, 3):
        measure_caption_similarity(table, str(clip), None, tmp_path / "found.parquet", Pace("cpu", batch))
        found.append(pd.read_parquet(tmp_path / "found.parquet"))
    pd.testing.assert_frame_equal(*found, atol=1e-5)
    values = found[0].set_index("sample")["caption_similarity"]
    assert values.between(-1, 1).all() and values.nunique() == len(CAPTIONS)
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), train_tokenizer(CAPTIONS, 20, 8)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)[0])
    with torch.no_grad():
        pixels = CLIPImageProcessorPil.from_pretrained(clip)(images=[image], return_tensors="pt")
        output = model(**tokenizer([CAPTIONS[0]], return_tensors="pt"), **pixels)
    cosine = float((output.image_embeds * output.text_embeds).sum())
    assert values["t/0"] == pytest.approx(cosine, abs=1e-4)


@pytest.mark.fault("a CLIP model without a tokenizer, of which an audit asks about captions", "an error that names it")
def test_a_model_without_a_tokenizer_is_refused(clip: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (bare / name).write_bytes((clip / name).read_bytes())
    with pytest.raises(UserError, match=r"has no tokenizer that can be loaded .* set encoder to a whole CLIP model"):
        measure_caption_similarity(samples(tmp_path), str(bare), None, tmp_path / "out.parquet", Pace("cpu", 4))
