from pathlib import Path

from dmin.evaluation.exact_games import evaluate_exact
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    evaluate_exact(Records.read(files), Path(given.contributions), snakemake.params.interval, Path(snakemake.output[0]))
