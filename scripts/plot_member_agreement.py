from pathlib import Path

from dmin.figures.member_agreement import draw_member_agreement
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    outputs = [Path(path) for path in snakemake.output]
    draw_member_agreement(Records.read(files), Path(given.agreement), outputs, snakemake.params.figures["dpi"])
