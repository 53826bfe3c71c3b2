from pathlib import Path

from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_mixture import score_mixture
from dmin.runtime.job import job

with job(snakemake):
    score_mixture(
        snakemake.wildcards.method,
        [Path(path) for path in snakemake.input.scores],
        SampleTables(Path(snakemake.input.query_samples), Path(snakemake.input.samples)),
        snakemake.params.top_k,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
