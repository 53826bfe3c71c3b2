from pathlib import Path

from dmin.figures.ranked import draw_contact_sheet
from dmin.runtime.job import job

with job(snakemake):
    draw_contact_sheet(
        Path(snakemake.input[0]), [Path(path) for path in snakemake.output], snakemake.params.figures["dpi"]
    )
