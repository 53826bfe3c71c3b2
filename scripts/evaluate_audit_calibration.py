from pathlib import Path

from dmin.audit.calibration import evaluate_calibration
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    evaluate_calibration(
        Path(given.samples),
        Path(given.held_out),
        Path(given.planted),
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
