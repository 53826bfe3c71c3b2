"""A whole run killed at random moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from checkout import Checkout
from kill_run import kill_and_continue, result_bytes


@pytest.mark.fault("SIGKILL of Snakemake and all its jobs at random moments", "the next run ends in the same bytes")
def test_killed_run_ends_in_the_same_bytes(finished: Checkout, new_checkout: Callable[[str], Checkout]) -> None:
    cut = new_checkout("cut")
    assert kill_and_continue(cut, 3, seed=1) >= 2
    whole, found = result_bytes(finished), result_bytes(cut)
    assert len(whole) > 100
    assert sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)) == []
