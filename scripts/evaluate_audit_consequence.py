from pathlib import Path

from dmin.audit.consequence import Recognition, Retrained, evaluate_consequence
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    recognition = None
    if given.features:
        recognition = Recognition(Path(given.queries), Path(given.held_out), Path(given.features[0]))
    evaluate_consequence(
        Retrained(Path(given.removed), [Path(file) for file in given.losses], [Path(file) for file in given.images]),
        recognition,
        snakemake.params.settings,
        Path(snakemake.output[0]),
        snakemake.resources.batch,
    )
