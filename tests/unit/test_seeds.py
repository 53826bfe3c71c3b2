"""Derived seeds: stable for ever, and apart wherever the names are apart."""

from __future__ import annotations

import torch

from dmin.runtime.seeds import derive_generator, derive_seed


def test_golden_values() -> None:
    # A change here would silently change every noise, split and result.
    assert derive_seed(0) == 4761921975702974394
    assert derive_seed(42, "gradient_noise", "900", "digits/7") == 2822718292648951448


def test_boundaries_of_the_parts_matter() -> None:
    seeds = [
        derive_seed(1, "ab", "c"),
        derive_seed(1, "a", "bc"),
        derive_seed(1, "abc"),
        derive_seed(1, "ab", "c", ""),
        derive_seed(1, "c", "ab"),
        derive_seed(2, "ab", "c"),
        derive_seed(11, "ab", "c"),
        derive_seed(1, 1, "ab", "c"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_numbers_and_their_text_are_one_name() -> None:
    assert derive_seed(1, 7) == derive_seed(1, "7")


def test_generators_repeat() -> None:
    first, second, other = (torch.randn(8, generator=derive_generator(3, "step", number)) for number in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
