from pathlib import Path

from dmin.evaluation.detection import RankedList
from dmin.evaluation.hubness import evaluate_hubness
from dmin.runtime.job import job

with job(snakemake):
    evaluate_hubness(
        [RankedList.at(Path(path)) for path in snakemake.input.tops],
        Path(snakemake.input.samples),
        snakemake.params.evaluation,
        Path(snakemake.output[0]),
    )
