from pathlib import Path

from dmin.evaluation.replay_bias import evaluate_replay_bias
from dmin.runtime.job import job

with job(snakemake):
    shards, count = [Path(path) for path in snakemake.input.shards], snakemake.params.checkpoints
    each = len(shards) // count
    evaluate_replay_bias(
        {tuple(pair): Path(path) for pair, path in zip(snakemake.params.scored, snakemake.input.scores, strict=True)},
        [shards[place * each : (place + 1) * each] for place in range(count)],
        snakemake.params.confidence,
        Path(snakemake.output[0]),
    )
