from pathlib import Path

from dmin.attribution.gradient_rows import GradientRows
from dmin.evaluation.compression import evaluate_compression
from dmin.job import job

with job(snakemake):
    reference = list(snakemake.input.reference)
    evaluate_compression(
        GradientRows([Path(path) for path in snakemake.input.train_shards], Path(snakemake.input.train)),
        GradientRows([Path(path) for path in snakemake.input.query_shards], Path(snakemake.input.queries)),
        Path(reference[0]) if reference else None,
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.widths,
        snakemake.params.storage,
        snakemake.params.evaluation,
        Path(snakemake.output[0]),
    )
