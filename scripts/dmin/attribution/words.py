"""The words of prompts and captions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dmin.data.sample_rows import SampleRows

# Captions whose words are held at once.
BLOCK = 4096
WORD = re.compile(r"\w+")


def word_counts(rows: SampleRows) -> Iterator[tuple[slice, list[Counter[str]]]]:
    """Yield the words of a block of texts, counted, with the places of the texts.

    Words are runs of letters, digits and underscores in lower case.
    """
    for places, block in rows.blocks(BLOCK, ["prompt"]):
        # A table without prompts holds None or NaN.
        texts = [text.lower() if isinstance(text, str) else "" for text in block["prompt"]]
        yield places, [Counter(WORD.findall(text)) for text in texts]
