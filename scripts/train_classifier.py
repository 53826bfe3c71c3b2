from pathlib import Path

from dmin.evaluation.classifier_training import train_classifier
from dmin.runtime.job import job

with job(snakemake):
    train_classifier(snakemake.params.settings, Path(snakemake.output.weights))
