from pathlib import Path

from dmin.attribution.gradient_rows import GradientRows
from dmin.evaluation.compression import Bank, score_compressed
from dmin.runtime.job import job

with job(snakemake):
    reference, losses = list(snakemake.input.reference), [Path(path) for path in snakemake.input.losses]
    score_compressed(
        snakemake.wildcards.method,
        GradientRows([Path(path) for path in snakemake.input.train_shards], Path(snakemake.input.train)),
        GradientRows([Path(path) for path in snakemake.input.query_shards], Path(snakemake.input.queries)),
        Path(reference[0]) if reference else None,
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.widths,
        snakemake.params.storage,
        snakemake.params.options,
        snakemake.params.evaluation,
        Bank(losses, [Path(path) for path in snakemake.input.sets], snakemake.params.judging) if losses else None,
        Path(snakemake.output[0]),
    )
