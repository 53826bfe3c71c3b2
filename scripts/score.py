from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    score(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries),
            GradientFiles.of(inputs.train_norms, inputs.train),
            snakemake.threads,
        ),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.options,
        snakemake.params.top_k,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
