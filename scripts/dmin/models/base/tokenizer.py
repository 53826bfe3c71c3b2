"""Train a CLIP-style byte-level BPE tokenizer on a handful of captions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def train_tokenizer(captions: Sequence[str], merges: int, length: int) -> CLIPTokenizer:
    """Learn up to ``merges`` byte-pair merges from ``captions``; prompts are cut at ``length`` tokens.

    The vocabulary holds every byte, alone and at the end of a word, as CLIP's does, so any text can be encoded.
    """
    like = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = like.normalizer
    learner.pre_tokenizer = like.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = alphabet + [letter + WORD_END for letter in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + merges, initial_alphabet=alphabet, end_of_word_suffix=WORD_END, show_progress=False
    )
    learner.train_from_iterator(captions, trainer)
    learned = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:merges]
    tokens = list(dict.fromkeys([*letters, *("".join(pair) for pair in learned), START, END]))
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=learned, model_max_length=length
    )
