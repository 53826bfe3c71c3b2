from pathlib import Path

from dmin.evaluation.detection import RankedList
from dmin.evaluation.facets import evaluate_facets
from dmin.runtime.job import job

with job(snakemake):
    evaluate_facets(
        [RankedList.at(Path(path)) for path in snakemake.input.tops],
        (Path(snakemake.input.samples), Path(snakemake.input.queries)),
        snakemake.params.query_set,
        snakemake.params.evaluation,
        Path(snakemake.output[0]),
    )
