from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.figures.influence_maps import draw_influence_maps
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    draw_influence_maps(
        Path(inputs.table),
        SampleTables(Path(inputs.queries), Path(inputs.samples)),
        [Path(path) for path in snakemake.output],
        snakemake.params.figures["dpi"],
    )
