from pathlib import Path

from dmin.evaluation.lds import JudgingBank
from dmin.evaluation.lds_bands import Banding, evaluate_lds_bands
from dmin.runtime.job import job

with job(snakemake):
    pairs = zip(snakemake.params.methods, snakemake.input.scores, strict=True)
    losses, sets = ([Path(path) for path in paths] for paths in (snakemake.input.losses, snakemake.input.sets))
    evaluate_lds_bands(
        JudgingBank(losses, sets, snakemake.params.settings),
        {(method, v): Path(path) for (method, v), path in pairs},
        Banding(**snakemake.params.banding),
        Path(snakemake.output[0]),
    )
