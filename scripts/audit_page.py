from pathlib import Path

from dmin.figures.audit_page import AuditPageFiles, write_audit_page
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = AuditPageFiles(**{name: Path(given[name]) for name in ("issues", "summary", "measured", "samples")})
    write_audit_page(files, snakemake.wildcards.run, Path(snakemake.output[0]))
