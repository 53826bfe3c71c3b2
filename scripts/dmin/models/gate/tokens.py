"""Tokenizers that tell prompts apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# One of these sets of files makes a tokenizer.
COMPLETE = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"})
# A tokenizer that says no length says one of 10^30.
UNLIMITED = 10**6
# Bytes, alone and at the end of a word: what a vocabulary without merges has.
_BYTES = 2 * 256


def require_tokenizer_files(folder: Path) -> None:
    """Refuse the folder of a tokenizer that lacks a file; the library would make an empty one in its place.

    Raises:
        UserError: naming the folder and its files.
    """
    present = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if not any(files <= present for files in COMPLETE):
        raise UserError(
            f"Tokenizer '{shown(folder)}' is not whole; it needs tokenizer.json, vocab.json with merges.txt, or "
            "spiece.model: download it again."
        )


def require_vocabulary(tokenizer: Any, where: str, embeddings: int) -> None:
    """Refuse a tokenizer that cannot tell prompts apart or fill them up to one length.

    Nor may it have tokens beyond the ``embeddings`` of its text encoder.

    Raises:
        UserError: naming the tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    words = [token for token in vocabulary if token.strip("▁") and not token.startswith("<")]
    if len(words) < 2:
        raise UserError(f"Tokenizer '{where}' has an empty vocabulary; download it again.")
    if max(vocabulary.values()) >= embeddings:
        raise UserError(
            f"Tokenizer '{where}' has tokens up to {max(vocabulary.values())} and its text encoder only {embeddings} "
            "embeddings; take both from one pipeline."
        )
    if tokenizer.pad_token_id is None:
        raise UserError(f"Tokenizer '{where}' has no pad_token; set it in tokenizer_config.json.")
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("type") == "BPE" and not model["merges"] and len(words) > _BYTES:
        raise UserError(f"Tokenizer '{where}' has words and no merges to make them by; download it again.")


def require_length(tokenizer: Any, where: str, positions: int) -> None:
    """Refuse a tokenizer whose prompts do not fit the ``positions`` of its text encoder.

    Raises:
        UserError: naming the tokenizer and its length.
    """
    length = tokenizer.model_max_length
    if type(length) is not int or not 2 <= length <= positions:
        none = isinstance(length, int) and length > UNLIMITED
        said = "no model_max_length" if none else f"model_max_length {length!r:.40}"
        raise UserError(
            f"Tokenizer '{where}' says {said} and its text encoder takes 2 to {positions} tokens; set it in "
            "tokenizer_config.json."
        )
