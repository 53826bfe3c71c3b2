from pathlib import Path

from dmin.audit.removals import choose_audited_removals
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    choose_audited_removals(
        (Path(given.samples), Path(given.held_out)),
        Path(given.planted[0]) if given.planted else None,
        snakemake.params.fdr,
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
