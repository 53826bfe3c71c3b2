from pathlib import Path

from dmin.retrieval.cascade import CascadeFiles, Subspace, build_cascade
from dmin.runtime.job import job

with job(snakemake):
    build_cascade(
        Path(snakemake.input[0]),
        Subspace(int(snakemake.wildcards.rank), snakemake.params.seed),
        CascadeFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
