from pathlib import Path

from dmin.attribution.gradient_files import GradientSides, split_checkpoints
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_checkpoints import Training, score_checkpoints
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    queries = split_checkpoints(inputs.query_norms, inputs.queries)
    train = split_checkpoints(inputs.train_norms, inputs.train)
    score_checkpoints(
        snakemake.wildcards.method,
        [GradientSides(*pair) for pair in zip(queries, train, strict=True)],
        Training(Path(inputs.checkpoints), snakemake.params.train),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.top_k,
        ScoreFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
