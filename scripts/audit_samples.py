from pathlib import Path

from dmin.audit.inputs import AuditInputs
from dmin.audit.samples import audit_samples
from dmin.runtime.job import job

with job(snakemake):
    inputs = AuditInputs.of(dict(snakemake.input.items()), snakemake.params.norms, snakemake.params.sources)
    samples, held_out = Path(snakemake.output.samples), Path(snakemake.output.held_out)
    audit_samples(inputs, snakemake.params.settings, samples, held_out)
