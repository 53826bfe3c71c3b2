from pathlib import Path

from dmin.data.buckets import Frame
from dmin.models.queries.images import import_queries
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents
from dmin.settings.recorded import recorded

with job(snakemake):
    asked = snakemake.params
    size, bucket_step, profiles, out = asked.size, asked.bucket_step, asked.profiles, Path(snakemake.output[0])
    import_queries(asked.images, Frame(size, bucket_step), out, profiles)
    settings = recorded(asked.images, size=size, bucket_step=bucket_step, profiles=profiles)
    write_contents(asked.image_contents, out, settings)
