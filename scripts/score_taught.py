from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_taught import Lesson, score_taught
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    inputs = snakemake.input
    score_taught(
        snakemake.wildcards.method,
        Lesson(
            SampleTables(Path(inputs.queries), Path(inputs.samples)), GradientFiles.of(inputs.shards, inputs.teacher)
        ),
        snakemake.params.options,
        Pace(snakemake.resources.device, snakemake.resources.batch),
        snakemake.params.top_k,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
