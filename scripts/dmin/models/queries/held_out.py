"""Images of the test set as queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from dmin.data.samples import read_samples, write_samples
from dmin.models.queries.names import query_names, query_seed
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed


def take_queries(test: Path, subsets: Sequence[str], per_subset: int, seed: int, out: Path) -> None:
    """Draw ``per_subset`` test images of each subset as queries; columns ``id, subset, prompt, label, seed, image``.

    They were never trained on, so they ask what training did for images of their kind. ``seed`` seeds the choice and
    the queries' own seeds.

    Raises:
        UserError: a subset has too few test images.
    """
    table = read_samples(test, ["id", "subset", "prompt", "label"])
    parts: list[pd.DataFrame] = []
    taken: list[str] = []
    for subset in subsets:
        rows = table.loc[table["subset"] == subset].sort_values("id")
        if len(rows) < per_subset:
            raise UserError(
                f"Subset '{subset}' has {len(rows)} test images, fewer than queries.per_subset {per_subset}; lower "
                "it or train_fraction."
            )
        generator = torch.Generator().manual_seed(derive_seed(seed, "held out", subset))
        chosen = rows.iloc[torch.randperm(len(rows), generator=generator)[:per_subset].tolist()]
        names = query_names(subset, per_subset)
        seeds = [query_seed(seed, name) for name in names]
        texts = {name: chosen[name].tolist() for name in ("prompt", "label")}
        parts.append(pd.DataFrame({"id": names, "subset": subset, **texts, "seed": seeds}))
        taken += chosen["id"].tolist()
    images = read_samples(test, ["id", "image"], taken).set_index("id")["image"]
    write_samples(pd.concat(parts, ignore_index=True).assign(image=images.loc[taken].tolist()), out)
