from pathlib import Path

from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_samples import score_samples
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    score_samples(
        snakemake.wildcards.method,
        SampleTables(Path(snakemake.input.queries), Path(snakemake.input.samples)),
        snakemake.params.options,
        Pace(snakemake.resources.device, snakemake.resources.batch),
        snakemake.params.top_k,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
