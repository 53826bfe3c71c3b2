from pathlib import Path

from dmin.evaluation.member_agreement import evaluate_agreement
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    evaluate_agreement(Records.read(files), Path(given.cost), snakemake.params.interval, Path(snakemake.output[0]))
