from pathlib import Path

from dmin.attribution.ranking_table import write_ranking
from dmin.attribution.sample_tables import SampleTables
from dmin.runtime.job import job

with job(snakemake):
    inputs, outputs = snakemake.input, snakemake.output
    tables = SampleTables(Path(inputs.queries), Path(inputs.samples))
    write_ranking(Path(inputs.top), tables, Path(outputs.csv), Path(outputs.json))
