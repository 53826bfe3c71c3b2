from pathlib import Path

from dmin.audit.report import AuditFiles, write_audit
from dmin.runtime.job import job

with job(snakemake):
    files = AuditFiles(**{name: Path(snakemake.output[name]) for name in ("issues", "summary", "keep", "drop")})
    write_audit(Path(snakemake.input.samples), Path(snakemake.input.held_out), snakemake.params.settings, files)
