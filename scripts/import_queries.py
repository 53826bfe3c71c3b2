from pathlib import Path

from dmin.data.buckets import Frame
from dmin.models.queries.images import import_queries
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents

with job(snakemake):
    asked = snakemake.params
    import_queries(asked.images, Frame(asked.size, asked.bucket_step), Path(snakemake.output[0]), asked.profiles)
    write_contents(asked.image_contents, Path(snakemake.output[0]))
