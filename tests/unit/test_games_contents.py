"""What the contents of a game's classifier and encoder are seen by."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from checkout import PROJECT
from config_tables import load

from dmin.workflow.job_contents import JobContents


def rewrite(file: Path) -> None:
    """Change a file but neither its length nor its date."""
    before, dates = file.read_bytes(), file.stat()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(file, ns=(dates.st_atime_ns, dates.st_mtime_ns))


@pytest.mark.parametrize("changed", ["classifier.safetensors", "classifier.json", "inception.safetensors"])
@pytest.mark.fault(
    "a classifier or an encoder of a game replaced, its old date kept", "what it measured is measured again"
)
def test_contents_of_classifier_and_encoder_count(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    for name in ("classifier.safetensors", "classifier.json", "inception.safetensors"):
        (tmp_path / name).write_text(name)
    encoder: dict[str, Any] = {"kind": "classifier"}
    if changed.startswith("inception"):
        encoder = {"kind": "inception", "path": str(tmp_path / "inception.safetensors")}

    def seen() -> dict[str, str]:
        config = yaml.safe_load((PROJECT / "config" / "contributors.yaml").read_text())
        config["games"]["six"] |= {"classifier": str(tmp_path / "classifier.safetensors"), "encoder": encoder}
        tables = load(config)
        contents, asked = JobContents(tables, print), SimpleNamespace(game="six", behaviour="entropy")
        features = SimpleNamespace(game="six", behaviour="frechet")
        return {"features": contents.game_encoder(asked), "entropy": contents.game_classifier(asked),
                "frechet": contents.game_classifier(features)}  # fmt: skip

    before = seen()
    rewrite(tmp_path / changed)
    after = seen()
    again = {name for name in before if after[name] != before[name]}
    assert again == ({"features"} if changed.startswith("inception") else {"features", "entropy"})
