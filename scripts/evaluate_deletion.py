from pathlib import Path

from dmin.evaluation.deletion import CurveFiles, evaluate_deletion
from dmin.games.records import RecordFiles, Records
from dmin.runtime.job import job

with job(snakemake):
    given, asked = snakemake.input, snakemake.params.curves
    files = RecordFiles(Path(given.players), Path(given.coalitions), Path(given.members), snakemake.params.seed)
    curves = CurveFiles(Path(given.curves[0]), asked["asked"], asked["start"]) if given.curves else None
    out = Path(snakemake.output[0])
    evaluate_deletion(Records.read(files), Path(given.contributions), curves, snakemake.params.interval, out)
