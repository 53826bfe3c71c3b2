"""Where the jobs of a run say what they have taken."""

from __future__ import annotations

from ..catalogue.methods import BLOCKS_CACHE
from .gradients import SPLITS
from .influence import SEARCH_METRICS, Influence


def stage_metrics(influence: Influence) -> dict[str, list[str]]:
    """Return every metrics file by the stage that wrote it, of all caches and sketches that a run reads."""
    cached, asked = (
        [shard for cache in influence.all_caches(split) for shard in influence.gradients.shards(cache, split)]
        for split in SPLITS
    )
    blocks, widths = [str(influence.gradients.settings["block_dim"])], influence.compressed_widths
    return {
        "cache": [shard.replace(".safetensors", ".metrics.json") for shard in cached],
        "query": [shard.replace(".safetensors", ".metrics.json") for shard in asked],
        "compress": [
            influence.gradients.sketch(cache, v, "train").replace(".npy", ".metrics.json")
            for cache in influence.all_caches("train")
            for v in (blocks if cache == BLOCKS_CACHE else widths)
        ],
        "index": [influence.index(v, ".metrics.json") for v in widths] if influence.retrieved() else [],
        "score": influence.scored_files("scores.metrics.json"),
        "retrieve": influence.retrieved(file=SEARCH_METRICS),
    }
