"""Whether an image looks like those whose captions are like its own, without a pass of the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from dmin.audit.neighbourhood import feature_blocks

# Nearest images, and nearest captions, that are looked at: of small sets a tenth.
_NEAREST = 30
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Captioned:
    """Images with unit features ``[n, d]`` and captions ``[n]``."""

    features: np.ndarray
    captions: Sequence[str]


def caption_margins(rows: Captioned, known: Captioned, same: bool) -> dict[str, np.ndarray]:
    """Return how far apart the images nearest to each row and the captions nearest to its own are, ``[n]`` each.

    ``caption_image_margin`` is how much more the images nearest by features look like the row than those with the
    nearest captions do, as a difference of mean cosines; ``caption_text_margin`` how much more the nearest captions
    read like its own than those of the nearest images do (TF-IDF). Both are small where image and caption agree. Empty
    where fewer than two captions have words.

    Args:
        known: the training images.
        same: the rows are the training images, and none is its own neighbour.
    """
    texts = _weighed([rows.captions, known.captions])
    own, others = texts
    if len({" ".join(_words(text)) for text in known.captions} - {""}) < 2:
        return {}
    count = min(_NEAREST, max(1, len(known.captions) // 10))
    image, text = np.empty(len(rows.captions)), np.empty(len(rows.captions))
    for part, block in feature_blocks(rows.features, known.features):
        read = (own[part] @ others.T).toarray()
        if same:
            places = np.arange(part.start, part.stop)
            block[np.arange(len(block)), places] = read[np.arange(len(block)), places] = -np.inf
        looks, reads = (np.argsort(-values, axis=1, kind="stable")[:, :count] for values in (block, read))
        image[part] = _mean(block, looks) - _mean(block, reads)
        text[part] = _mean(read, reads) - _mean(read, looks)
    return {"caption_image_margin": image, "caption_text_margin": text}


def _mean(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    means: np.ndarray = np.take_along_axis(values, places, axis=1).mean(axis=1)
    return means


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _weighed(sides: Sequence[Sequence[str]]) -> list[csr_matrix]:
    """Return unit rows of TF-IDF weights of both sides, the frequencies being those of the second."""
    counts = [[Counter(_words(text)) for text in side] for side in sides]
    documents = Counter(word for count in counts[1] for word in count)
    columns = {word: column for column, word in enumerate(documents)}
    weights = {word: np.log((1 + len(sides[1])) / (1 + number)) + 1 for word, number in documents.items()}
    found = []
    for side in counts:
        values, indices, ends = [], [], [0]
        for count in side:
            row = {columns[word]: number * weights[word] for word, number in count.items() if word in columns}
            length = np.sqrt(sum(value**2 for value in row.values())) or 1.0
            values += [value / length for value in row.values()]
            indices += list(row)
            ends.append(len(indices))
        found.append(csr_matrix((values, indices, ends), shape=(len(side), len(columns))))
    return found
