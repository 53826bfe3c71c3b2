import json
from pathlib import Path

from dmin.figures.explorer import write_explorer, write_explorer_folder
from dmin.figures.explorer_data import About, Tables
from dmin.figures.explorer_files import ExplorerFiles, read_beside, read_rankings
from dmin.figures.explorer_space import FOLDER, PAGE
from dmin.runtime.job import job

with job(snakemake):
    inputs, params, output = snakemake.input, snakemake.params, Path(snakemake.output[0])
    rankings = read_rankings(params.labels, inputs.tops, inputs.scores)
    tables = Tables(Path(inputs.queries), Path(inputs.samples))
    about = About(
        snakemake.wildcards.run, json.loads(params.notes), params.top, params.subsets_known, params.confidence
    )
    one_page = output.suffix == ".html"
    files = ExplorerFiles.of(dict(inputs.items()), json.loads(params.games))
    beside = read_beside(files, tables.train, rankings, about, PAGE if one_page else FOLDER)
    (write_explorer if one_page else write_explorer_folder)(output, tables, rankings, about, beside)
