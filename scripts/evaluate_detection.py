from pathlib import Path

from dmin.evaluation.detection import RankedList, evaluate_detection
from dmin.job import job

with job(snakemake):
    lists = []
    for path in map(Path, snakemake.input.tops):
        method, width, backend = path.parts[-4:-1]
        lists.append(RankedList(path, method, width.removeprefix("v"), backend))
    evaluate_detection(lists, Path(snakemake.input.samples), snakemake.params.evaluation, Path(snakemake.output[0]))
