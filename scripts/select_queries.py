from pathlib import Path

import torch

from dmin.evaluation.query_selection import select_queries
from dmin.runtime.job import job

with job(snakemake):
    torch.set_num_threads(snakemake.threads)
    select_queries(
        Path(snakemake.input.candidates),
        Path(snakemake.input.classifier),
        snakemake.params.subsets,
        snakemake.params.keep,
        snakemake.params.confidence,
        Path(snakemake.output.queries),
        Path(snakemake.output.labels),
    )
