from pathlib import Path

from dmin.evaluation.detection import RankedList, evaluate_detection
from dmin.job import job

with job(snakemake):
    lists = []
    for path in map(Path, snakemake.input.tops):
        # METHOD/vWIDTH/BACKEND/top.parquet, or METHOD/top.parquet for a method without a width.
        if path.parent.name in ("exact", "hnsw"):
            method, width, backend = path.parts[-4:-1]
            lists.append(RankedList(path, method, width.removeprefix("v"), backend))
        else:
            lists.append(RankedList(path, path.parent.name, "", "exact"))
    evaluate_detection(lists, Path(snakemake.input.samples), snakemake.params.evaluation, Path(snakemake.output[0]))
