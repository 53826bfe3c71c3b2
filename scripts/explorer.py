import json
from pathlib import Path

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About, Tables
from dmin.figures.explorer_files import ExplorerFiles, read_beside, read_rankings
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    rankings = read_rankings(params.labels, inputs.tops, inputs.scores)
    tables = Tables(Path(inputs.queries), Path(inputs.samples))
    about = About(
        snakemake.wildcards.run, json.loads(params.notes), params.top, params.subsets_known, params.confidence
    )
    beside = read_beside(ExplorerFiles.of(dict(inputs.items())), tables.train, rankings, about)
    write_explorer(Path(snakemake.output[0]), tables, rankings, about, beside)
