"""The explorer as a folder: on demand, and again with what makes the page again."""

from __future__ import annotations

import shutil
from typing import Any

from checkout import Checkout


def shorten(config: dict[str, Any]) -> None:
    config["figures"] = {**config.get("figures", {}), "explorer_top": 5}


def reseed(config: dict[str, Any]) -> None:
    config["runs"]["micro"]["queries"]["seed"] = 7


def test_explorer_folder_is_made_on_demand_and_again_with_the_explorer(finished: Checkout) -> None:
    alone = {"explorer_folder": 1, "explorer_folders": 1}
    assert finished.plan("explorer_folders") == alone
    finished.run("explorer_folders")
    folder = finished.root / "results" / "runs" / "micro" / "explorer_folder"
    try:
        page = (folder / "index.html").read_text()
        assert page.count("<script") == 2 and list((folder / "files").rglob("*.webp"))
        assert finished.plan("explorer_folders") == finished.plan() == {}
        assert finished.plan_with(shorten, "explorer_folders") == alone
        rerun = finished.plan_with(reseed, "explorer_folders")
        assert rerun["explorer_folder"] == 1 and not rerun.keys() & {"explorer", "train_model"}
    finally:
        shutil.rmtree(folder)
