from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.figures.ranked import MethodScores, draw_gallery
from dmin.runtime.job import job

with job(snakemake):
    inputs, wildcards, figures = snakemake.input, snakemake.wildcards, snakemake.params.figures
    draw_gallery(
        MethodScores(Path(inputs.scores), wildcards.method, wildcards.v),
        SampleTables(Path(inputs.queries), Path(inputs.samples)),
        wildcards.subset if snakemake.params.subsets_known else None,
        figures["gallery"],
        [Path(path) for path in snakemake.output],
        figures["dpi"],
    )
