from pathlib import Path

from dmin.evaluation.detection import RankedList, evaluate_detection
from dmin.runtime.job import job

with job(snakemake):
    evaluate_detection(
        [RankedList.at(Path(path)) for path in snakemake.input.tops],
        Path(snakemake.input.samples),
        snakemake.params.evaluation,
        Path(snakemake.output[0]),
    )
