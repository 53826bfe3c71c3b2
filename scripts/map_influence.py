from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.influence_maps import MappedLists, PartFiles, map_influence
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    parts = {name: list(map(Path, inputs.get(name) or ())) for name in ("query_fields", "layers", "sample_fields")}
    map_influence(
        params.method,
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries),
            GradientFiles.of(inputs.train_norms, inputs.train),
            threads=snakemake.threads,
        ),
        PartFiles(**parts),
        MappedLists(Path(inputs.top), params.top_k),
        params.options,
        Path(snakemake.output[0]),
    )
