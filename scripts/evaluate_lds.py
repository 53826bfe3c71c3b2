from pathlib import Path

from dmin.evaluation.lds import JudgingBank, LdsFiles, evaluate_lds
from dmin.runtime.job import job

with job(snakemake):
    pairs = zip(snakemake.params.methods, snakemake.input.scores, strict=True)
    losses, sets = ([Path(path) for path in paths] for paths in (snakemake.input.losses, snakemake.input.sets))
    evaluate_lds(
        JudgingBank(losses, sets, snakemake.params.settings),
        {(method, v): Path(path) for (method, v), path in pairs},
        snakemake.params.query_set,
        LdsFiles(Path(snakemake.output.table), Path(snakemake.output.queries)),
    )
