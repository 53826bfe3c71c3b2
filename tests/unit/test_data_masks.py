"""Tables that name a mask beside each image: which of both is read, and whose captions it has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from local_sources import fetched, refusal, settings, values, write_folder


@pytest.mark.fault("captions beside masks, whose column comes first", "each image has the caption beside it")
@pytest.mark.parametrize("header", ["mask_file_name,file_name", "file_name,mask_file_name"])
def test_captions_are_those_beside_the_images_that_are_read(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "a_m.png")
    (folder / "a.txt").write_text("a cat")
    row = header.replace("mask_file_name", "a_m.png").replace("file_name", "a.png")
    (folder / "metadata.csv").write_text(f"{header}\n{row}\n")
    for words in (None, "mask words"):
        if words:
            (folder / "a_m.txt").write_text(words)
        frame = fetched(tmp_path, settings(folder))
        assert values(frame) == [1] and frame["prompt"].tolist() == ["a cat"]
    frame = fetched(tmp_path, settings(folder, image_column="mask"))
    assert values(frame) == [2] and frame["prompt"].tolist() == ["mask words"]
    # Both columns are of the metadata.
    assert "not in the metadata" not in caplog.text


def test_masks_in_loose_parquet_are_no_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "a_m.png")
    names = {"mask_file_name": ["a_m.png"], "file_name": ["a.png"], "text": ["a cat"]}
    pd.DataFrame(names).to_parquet(folder / "list.parquet")
    assert values(fetched(tmp_path, settings(folder / "list.parquet"))) == [1]
    (tmp_path / "out.parquet").unlink()
    pd.DataFrame(names).rename(columns={"file_name": "depth_file_name"}).to_parquet(folder / "list.parquet")
    found = refusal(tmp_path, settings(folder / "list.parquet"))
    assert "has no column 'image'; set image_column to one of mask_file_name, depth_file_name, text." in found
