"""Runs that the config's checks refuse, by what training and methods need."""

from __future__ import annotations

import pytest
from run_config import PROJECT, config

from dmin.runtime.errors import UserError
from dmin.workflow.tables import read_tables


def test_lissa_is_refused_beside_another_loss_than_the_training_s() -> None:
    given = config(["dmin", "lissa"])
    given["bases"]["b"]["family"] = "stable_diffusion_3"
    given["runs"]["r"]["gradients"]["objective"] = "reference"
    with pytest.raises(
        UserError, match=r"^runs\.r\.gradients\.objective is reference, but runs\.r\.influence\.methods has"
    ):
        read_tables(given, PROJECT)


def test_the_first_epoch_is_as_long_as_repeats_make_it() -> None:
    given = config(["tracin"])
    given["models"]["m"]["train"] = {"checkpoints": [84], "batch_size": 4}
    for repeats, least in ((None, 21), (10, 199)):
        for source in given["datasets"]["d"]["sources"]:
            source["repeats"] = repeats
        # 84 of 105 train, of which 5 are noised copies, seen once at the least.
        given["models"]["m"]["train"]["checkpoints"] = [least - 1]
        with pytest.raises(UserError, match=f"takes {least} steps; name steps from {least} on"):
            read_tables(given, PROJECT)
        given["models"]["m"]["train"]["checkpoints"] = [least]
        read_tables(given, PROJECT)
