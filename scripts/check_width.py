from pathlib import Path

from dmin.runtime.atomic import write_json
from dmin.runtime.attributed import check_trained
from dmin.runtime.job import job

with job(snakemake):
    settings, weights = snakemake.params.gradients, Path(snakemake.input[0])
    key = f"runs.{snakemake.wildcards.run}.gradients"
    parameters = check_trained(key, settings["cache_dim"], weights, settings["parameters"])
    write_json({"cache_dim": settings["cache_dim"], "parameters": parameters}, Path(snakemake.output[0]))
