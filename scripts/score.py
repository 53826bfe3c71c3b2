from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    held_out, whole = (inputs.get(name) for name in ("held_out_samples", "whole"))
    score(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries),
            GradientFiles.of(inputs.train_norms, inputs.train),
            GradientFiles.of(inputs.held_out_norms, inputs.held_out) if held_out else None,
            snakemake.threads,
        ),
        SampleTables(
            Path(inputs.query_samples),
            Path(inputs.samples),
            Path(held_out) if held_out else None,
            Path(whole) if whole else None,
        ),
        snakemake.params.options,
        snakemake.params.lists,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
