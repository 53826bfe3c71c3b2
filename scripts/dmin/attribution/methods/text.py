"""Cosine of the words of prompts and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dmin.attribution.words import word_counts
from dmin.data.sample_rows import SampleRows
from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

METHOD = {
    "inputs": "samples",
    "summary": "How alike prompt and caption are; it sees no image.",
    "score": "TF-IDF cosine of the prompt and the caption",
    "range": "[0, 1]",
    "label": "Caption cosine",
    "look": ("#E69F00", "<", "dotted"),
    "columns": ("prompt",),
}


def scores(queries: SampleRows, train: SampleRows, options: Options) -> np.ndarray:
    """Return the TF-IDF cosine of every prompt with every caption, float32 ``[queries, train]`` in [0, 1].

    Words are runs of letters, digits and underscores in lower case. A word counts as often as it occurs, times
    ``ln((1 + n) / (1 + df)) + 1`` with its number ``df`` of captions among ``n``. A text without words scores 0.
    There is nothing to set.

    Raises:
        UserError: no prompt, or no caption, has a word.
    """
    asked = [count for _, counts in word_counts(queries) for count in counts]
    documents = Counter(word for _, captions in word_counts(train) for count in captions for word in count)
    for known, side in ((any(asked), "query"), (documents, "training sample")):
        if not known:
            raise UserError(f"Method text needs prompts, but no {side} has one; leave it out of influence.methods.")

    def weigh(count: Counter[str]) -> dict[str, float]:
        values = {word: n * (np.log((1 + len(train)) / (1 + documents[word])) + 1) for word, n in count.items()}
        length = float(np.sqrt(sum(value**2 for value in values.values())))
        return {word: value / length for word, value in values.items()}

    # Only words of queries can match, so both matrices need no other columns.
    columns = {word: index for index, word in enumerate(sorted({word for count in asked for word in count}))}

    def matrix(counts: Sequence[Counter[str]]) -> np.ndarray:
        rows = np.zeros((len(counts), len(columns)), dtype=np.float32)
        for row, count in zip(rows, counts, strict=True):
            for word, value in weigh(count).items():
                if word in columns:
                    row[columns[word]] = value
        return rows

    left = matrix(asked)
    out = np.empty((len(queries), len(train)), dtype=np.float32)
    for places, captions in word_counts(train):
        out[:, places] = left @ matrix(captions).T
    return out
