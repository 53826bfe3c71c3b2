from pathlib import Path

from dmin.models.own_weights import import_pipeline
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents

with job(snakemake):
    import_pipeline(
        snakemake.params.own,
        snakemake.params.base,
        Path(snakemake.output.weights),
        Path(snakemake.output.description),
    )
    write_contents(snakemake.params.own_contents, Path(snakemake.output[0]))
