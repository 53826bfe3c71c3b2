from pathlib import Path

from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.runtime.job import job

with job(snakemake):
    build_index(
        Path(snakemake.input[0]),
        Construction(int(snakemake.wildcards.M), int(snakemake.wildcards.efc), snakemake.params.seed),
        IndexFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
