from pathlib import Path

from dmin.evaluation.lds import JudgingBank
from dmin.evaluation.risk_coverage import Answers, Truth, evaluate_risk_coverage
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    losses, sets = ([Path(path) for path in inputs.get(name, [])] for name in ("losses", "sets"))
    settings = params.settings
    bank = JudgingBank(losses, sets, settings["interval"]) if losses else None
    entries = zip(params.methods, inputs.tops, inputs.scores, strict=True)
    evaluate_risk_coverage(
        [Answers(method, v, Path(top), Path(scores)) for (method, v), top, scores in entries],
        Truth(settings["k"], bank, settings["confidence"]),
        Path(snakemake.output[0]),
    )
