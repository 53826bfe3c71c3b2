from pathlib import Path

from dmin.figures.audit_consequence import ConsequenceFiles
from dmin.figures.audit_page import AuditPageFiles, write_audit_page
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    consequence = None
    if given.consequence:
        queries = Path(given.queries[0]) if given.queries else None
        consequence = ConsequenceFiles(Path(given.consequence[0]), [Path(file) for file in given.generated], queries)
    files = {name: Path(given[name]) for name in ("issues", "summary", "measured", "samples")}
    page = AuditPageFiles(**files, consequence=consequence)
    write_audit_page(page, snakemake.wildcards.run, Path(snakemake.output[0]))
