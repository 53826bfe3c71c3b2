from pathlib import Path

from dmin.audit.detection import DetectionFiles, evaluate_audit
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    evaluate_audit(
        Path(given.samples),
        Path(given.held_out),
        Path(given.planted),
        snakemake.params.settings,
        DetectionFiles(Path(snakemake.output.detection), Path(snakemake.output.found)),
    )
