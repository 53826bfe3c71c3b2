from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.evaluation.lds import JudgingBank
from dmin.evaluation.lds_lambda import sweep_lds
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    losses, sets = ([Path(path) for path in paths] for paths in (inputs.losses, inputs.sets))
    sweep_lds(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries), GradientFiles.of(inputs.train_norms, inputs.train)
        ),
        JudgingBank(losses, sets, snakemake.params.judging),
        snakemake.params.options,
        Path(snakemake.output[0]),
    )
