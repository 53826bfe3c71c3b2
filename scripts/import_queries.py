from pathlib import Path

from dmin.models.queries.images import import_queries
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents

with job(snakemake):
    import_queries(snakemake.params.images, snakemake.params.size, Path(snakemake.output[0]), snakemake.params.profiles)
    write_contents(snakemake.params.image_contents, Path(snakemake.output[0]))
