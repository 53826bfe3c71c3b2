from pathlib import Path

from dmin.games.contributions import write_contributions
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    scores = dict(zip(snakemake.params.methods, map(Path, given.scores), strict=True))
    write_contributions(Records.read(files), scores, snakemake.params.interval, Path(snakemake.output[0]))
