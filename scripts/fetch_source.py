from pathlib import Path

from dmin.data.source import fetch_source
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents

with job(snakemake):
    source = snakemake.params.source
    fetch_source(snakemake.wildcards.source, source, Path(snakemake.output[0]), snakemake.params.seed)
    write_contents(snakemake.params.source_contents, Path(snakemake.output[0]))
