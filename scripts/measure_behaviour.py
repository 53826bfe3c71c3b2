from pathlib import Path

from dmin.games.measure import MemberFiles, measure_behaviour
from dmin.games.measured import ReferenceFiles
from dmin.models.load import TrainedModel
from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    given, params = dict(snakemake.input.items()), snakemake.params
    # Its description lies beside the weights.
    given["classifier"] = next(iter(given["classifier"]), None)
    models = None
    if "weights" in given:
        models = {f"{snakemake.wildcards.anchor}/0": TrainedModel(params.base, Path(given["weights"]))}
    elif "models" in given:
        start, stop = map(int, snakemake.wildcards.range.split("-"))
        retrainings = Retrainings(params.bank, start, stop)
        models = RetrainedModels(Path(given["models"]), params.base, params.finetune, retrainings)
    measure_behaviour(
        snakemake.wildcards.behaviour,
        MemberFiles.of(given, models),
        ReferenceFiles.of(given),
        params.behaviour,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
