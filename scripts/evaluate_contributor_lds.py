from pathlib import Path

from dmin.evaluation.contributor_lds import evaluate_contributor_lds
from dmin.evaluation.fit_cost import FitCost
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    cost = FitCost.read(Path(given.cost), snakemake.params.budget)
    evaluate_contributor_lds(
        Records.read(files), Path(given.contributions), cost, snakemake.params.interval, Path(snakemake.output[0])
    )
