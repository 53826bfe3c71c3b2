from pathlib import Path

from dmin.evaluation.pooled_lds import PooledRun, evaluate_pooled_lds
from dmin.runtime.job import job

with job(snakemake):
    runs = []
    for number, facts in enumerate(snakemake.params.runs):
        losses, sets, scores = (
            [Path(path) for path in snakemake.input.get(f"{kind}_{number}")] for kind in ("losses", "sets", "scores")
        )
        named = dict(zip(facts["methods"], scores, strict=True))
        runs.append(PooledRun(facts["bank"], tuple(facts["setting"]), losses, sets, named))
    evaluate_pooled_lds(runs, snakemake.params.interval, Path(snakemake.output[0]))
