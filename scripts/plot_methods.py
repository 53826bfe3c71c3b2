from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.figures.ranked import draw_method_gallery
from dmin.runtime.job import job

with job(snakemake):
    inputs, figures = snakemake.input, snakemake.params.figures
    draw_method_gallery(
        dict(zip(snakemake.params.methods, map(Path, inputs.tops), strict=True)),
        SampleTables(Path(inputs.queries), Path(inputs.samples)),
        snakemake.wildcards.subset if snakemake.params.subsets_known else None,
        figures["gallery"]["most"],
        [Path(path) for path in snakemake.output],
        figures["dpi"],
    )
