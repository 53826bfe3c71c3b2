from pathlib import Path

from dmin.games.tables import PruningCost, measure_cost
from dmin.runtime.job import job

with job(snakemake):
    metrics = {}
    for trainer, path in zip(snakemake.params.trainers, snakemake.input.metrics, strict=True):
        metrics.setdefault(trainer, []).append(path)
    steps, samples = snakemake.params.steps, snakemake.params.samples
    pruning = [Path(path) for path in snakemake.input.pruning]
    measure_cost(
        [
            {"trainer": name, "steps": steps[name], "samples": samples[name], "metrics": paths}
            for name, paths in metrics.items()
        ],
        PruningCost(*pruning, samples["pruning"]) if pruning else None,
        samples["retrain"],
        Path(snakemake.output[0]),
    )
