from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.retrieval.answers import Answers
from dmin.retrieval.hnsw import retrieve
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    retrieve(
        Path(inputs.index),
        Path(inputs.queries),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.settings,
        Answers(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
