from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.figures.ranked import MethodScores, draw_score_distributions
from dmin.runtime.job import job

with job(snakemake):
    inputs, wildcards = snakemake.input, snakemake.wildcards
    draw_score_distributions(
        MethodScores(Path(inputs.scores), wildcards.method, wildcards.v),
        SampleTables(Path(inputs.queries), Path(inputs.samples)),
        snakemake.params.subsets_known,
        [Path(path) for path in snakemake.output],
        snakemake.params.figures["dpi"],
    )
