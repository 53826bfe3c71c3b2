from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles
from dmin.evaluation.timestep_cosines import evaluate_timestep_cosines
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    files = {
        "train": GradientFiles.of(inputs.train_shards, inputs.train),
        "queries": GradientFiles.of(inputs.query_shards, inputs.queries),
    }
    evaluate_timestep_cosines(files, snakemake.params.confidence, Path(snakemake.output[0]))
