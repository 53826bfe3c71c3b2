from pathlib import Path

import torch

from dmin.evaluation.query_labels import QueryFiles, Screening
from dmin.evaluation.query_selection import select_queries
from dmin.runtime.job import job

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    select_queries(
        Path(snakemake.input.candidates),
        Screening(Path(snakemake.input.classifier), params.subsets, params.confidence),
        params.keep,
        QueryFiles(Path(snakemake.output.queries), Path(snakemake.output.labels)),
    )
