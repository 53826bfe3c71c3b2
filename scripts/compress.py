from pathlib import Path

from dmin.gradients.compress import compress
from dmin.job import job

with job(snakemake):
    for split in ("train", "queries"):
        compress(
            [Path(path) for path in snakemake.input[split]],
            int(snakemake.wildcards.v),
            Path(snakemake.output[split]),
            Path(snakemake.output[f"{split}_description"]),
            Path(snakemake.output[f"{split}_metrics"]),
        )
