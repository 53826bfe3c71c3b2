"""Prompts as tokens of a text encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

log = logging.getLogger(__name__)


def tokenise(tokenizer: Any, prompts: Sequence[str], length: int) -> torch.Tensor:
    """Return the tokens ``[prompts, length]``, cut or filled up."""
    tokens: torch.Tensor = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


def tokens_of(tokenizers: Sequence[Any], prompts: Sequence[str], length: int) -> dict[str, torch.Tensor]:
    """Return the tokens of each tokenizer, ``tokens_0``, ``tokens_1`` ..., each ``[prompts, length]``."""
    return {f"tokens_{number}": tokenise(one, prompts, length) for number, one in enumerate(tokenizers)}


def beyond(tokenizer: Any, prompts: Sequence[str], limit: int) -> list[int]:
    """Return the places of the prompts that have more than ``limit`` tokens, those that begin and end it included."""
    # verbose would warn of every long prompt by itself.
    tokens = tokenizer(list(prompts), truncation=False, verbose=False).input_ids
    return [place for place, row in enumerate(tokens) if len(row) > limit]


def tell_long_prompts(long: Sequence[int], ids: Sequence[str]) -> None:
    """Log how many of the prompts of the samples ``ids`` are cut: those at the places ``long``."""
    if long:
        log.warning(
            "%d of %d prompts are longer than the text encoder takes, and cut (%s)", len(long), len(ids), ids[long[0]]
        )
