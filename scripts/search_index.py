from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.hnsw_ablation import search_index
from dmin.retrieval.hnsw import IndexFiles
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    search_index(
        IndexFiles(Path(inputs.index), Path(inputs.description), Path(inputs.metrics)),
        Path(inputs.queries),
        Path(inputs.exact),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
