from pathlib import Path

from dmin.evaluation.contributor_lds import evaluate_contributor_lds
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    tables = Path(given.contributions), Path(given.cost)
    evaluate_contributor_lds(Records.read(files), *tables, snakemake.params.interval, Path(snakemake.output[0]))
