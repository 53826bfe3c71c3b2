"""Prompts as a language model reads them: inside the words of a conversation, of which it leaves hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# What the templates of Qwen make of one message of the user; a template of the model's own is code, and not run.
USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def tokenise_chat(
    tokenizer: Any, template: str, prompts: Sequence[str], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens ``[prompts, length]`` of ``template`` around each prompt, cut or filled up, and their mask."""
    texts = [template.format(prompt) for prompt in prompts]
    given = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return given.input_ids, given.attention_mask


def beyond_chat(tokenizer: Any, template: str, prompts: Sequence[str], limit: int) -> list[int]:
    """Return the places of the prompts that have more than ``limit`` tokens, those of the ``template`` included."""
    rows = tokenizer([template.format(prompt) for prompt in prompts], truncation=False, verbose=False).input_ids
    return [place for place, row in enumerate(rows) if len(row) > limit]


def pack_rows(hidden: torch.Tensor, mask: torch.Tensor, skip: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a mask leaves of hidden states, at the beginning of each row, and how many tokens that is.

    Args:
        hidden: ``[b, length, d]``.
        mask: ``[b, length]``.
        skip: tokens that are left out at the beginning, those of the template.

    Returns:
        ``[b, length - skip, d]``, zeros beyond, and ``[b]``.
    """
    out = hidden.new_zeros(len(hidden), hidden.shape[1] - skip, hidden.shape[2])
    counts = []
    for row, (states, kept) in enumerate(zip(hidden, mask.to(hidden.device).bool(), strict=True)):
        left = states[kept][skip:]
        out[row, : len(left)] = left
        counts.append(len(left))
    return out, torch.tensor(counts, device=hidden.device)
