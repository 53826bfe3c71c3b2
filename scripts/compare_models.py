from pathlib import Path

from dmin.games.models import ModelRow, compare_models
from dmin.runtime.job import job

with job(snakemake):
    given = dict(snakemake.input.items())
    rows: list[ModelRow] = [
        {"model": model, "steps": steps, "features": list(given[model])} for model, steps in snakemake.params.rows
    ]
    record = [Path(path) for path in given["record"]]
    compare_models(
        rows,
        [Path(path) for path in given.get("retrain", [])],
        Path(given["train"]),
        record[0] if record else None,
        snakemake.params.distance,
        Path(snakemake.output[0]),
    )
