from pathlib import Path

from dmin.data.source import fetch_source
from dmin.runtime.job import job
from dmin.runtime.provenance import write_contents
from dmin.settings.recorded import recorded

with job(snakemake):
    source, seed, out = snakemake.params.source, snakemake.params.seed, Path(snakemake.output[0])
    fetch_source(snakemake.wildcards.source, source, out, seed)
    write_contents(snakemake.params.source_contents, out, recorded(source, seed=seed))
