from pathlib import Path

from dmin.games.tables import measure_cost
from dmin.runtime.job import job

with job(snakemake):
    metrics = {}
    for trainer, path in zip(snakemake.params.trainers, snakemake.input.metrics, strict=True):
        metrics.setdefault(trainer, []).append(path)
    steps = snakemake.params.steps
    measure_cost(
        [{"trainer": name, "steps": steps[name], "metrics": paths} for name, paths in metrics.items()],
        list(map(Path, snakemake.input.pruning)),
        Path(snakemake.output[0]),
    )
