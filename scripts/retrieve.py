from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.retrieval.hnsw import retrieve
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    retrieve(
        Path(inputs.index),
        Path(inputs.queries),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.settings,
        Path(snakemake.output.top),
        Path(snakemake.output.metrics),
    )
