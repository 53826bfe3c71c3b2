import sys
from functools import partial
from pathlib import Path
from runpy import run_path

from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.19")

if not hasattr(workflow.current_basedir, "__fspath__"):
    raise SystemExit(
        "Error: as a module this workflow must be a checkout on disk, for its scripts import the library beside them; "
        "clone it and set the module's snakefile to the path of its Snakefile."
    )
ROOT = Path(workflow.current_basedir)

# The library beside this file, also where another checkout or an installed one is loaded too.
dmin = run_path(str(ROOT / "scripts" / "dmin" / "workflow" / "checkout.py"))["load_library"](ROOT)

# Snakemake lets the last of two equal keys win, so its config files are read again, strictly; a module's config is of
# the workflow that uses it.
if not workflow.modifier.skip_configfile:
    dmin.shorten_terminal(logger, lambda: workflow.local_exec)
    dmin.check_config_files(workflow.overwrite_configfiles, None if "datasets" in config else "config/config.yaml")

# A config that defines data sets stands alone; any other is laid over the embedded example.
if "datasets" not in config:

    configfile: "config/config.yaml"


report: "report/workflow.rst"


# Snakemake knows its targets only once the rules are read.
tables = dmin.open_tables(config, ROOT, spoilt="doctor" in sys.argv)
datasets, bases, models, banks, runs = tables.datasets, tables.bases, tables.models, tables.banks, tables.runs
base_trainings, classifier_trainings = tables.base_trainings, tables.classifier_trainings
compute, games, measures = tables.compute, tables.games, tables.measures
contributors = tables.contributors
code, contents = dmin.JobCode(tables), dmin.JobContents(tables, logger.info)
figure = partial(dmin.figure_files, report)
if workflow.is_main_process and (notice := dmin.older_code(Path())):
    logger.warning(notice)
if workflow.is_main_process:
    for notice in tables.notices:
        logger.info(notice)


pathvars:
    run="<results>/runs/{run}",
    game="<results>/games/{game}",
    benchmarks="<results>/benchmarks",


resource_scopes:
    gpu="local",


wildcard_constraints:
    dataset=dmin.one_of(datasets),
    base=dmin.one_of(bases),
    model=dmin.one_of(models),
    run=dmin.one_of(runs),
    bank=dmin.one_of(banks),
    game=dmin.one_of(games),
    trainer=dmin.one_of(dmin.TRAINERS),
    part=dmin.one_of(dmin.PARTS),
    behaviour=dmin.one_of(dmin.BEHAVIOURS),
    anchor=r"full|pruned|repeat\d+",
    cache=dmin.cache_pattern(),
    split="train|test|queries|regions",
    range=r"\d{8}-\d{8}",
    study=dmin.one_of(dmin.CONTROLS),
    removal=dmin.one_of([*dmin.ALL_CONTROLS, *dmin.METHODS]),
    method=dmin.one_of(dmin.METHODS),
    v=r"\d+|full",


include: "rules/dataset.smk"
include: "rules/model.smk"
include: "rules/queries.smk"
include: "rules/gradients.smk"
include: "rules/influence.smk"
include: "rules/taught.smk"
include: "rules/kernels.smk"
include: "rules/evaluation.smk"
include: "rules/significance.smk"
include: "rules/timesteps.smk"
include: "rules/ablation.smk"
include: "rules/report.smk"
include: "rules/comparison.smk"
include: "rules/retraining.smk"
include: "rules/removal.smk"
include: "rules/deletion.smk"
include: "rules/games.smk"
include: "rules/behaviours.smk"
include: "rules/contributors.smk"
include: "rules/contributor_figures.smk"
include: "rules/audit.smk"
include: "rules/audit_consequence.smk"
include: "rules/maps.smk"
include: "rules/paper.smk"
include: "rules/plan.smk"
include: "rules/doctor.smk"
include: "rules/verify.smk"


onstart:
    # Of what is to be made: a full disk must not keep anyone from asking for the plan, or for a smaller run.
    shards = [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name == "cache_gradients"]
    try:
        dmin.require_room(shards, runs, workflow.pathvars.apply)
    except dmin.UserError as error:
        raise WorkflowError(error)


onsuccess:
    if line := dmin.pages(file for job in workflow.dag.jobs for file in job.output):
        logger.info(line)


localrules:
    all,
    datasets,
    models,
    gradients,
    indexes,
    rankings,
    influence,
    kernels,
    tables,
    figures,
    explorers,
    explorer_folders,
    comparison,
    ablations,
    lds,
    removal,
    deletion,
    thickness,
    contributors,
    games,
    audit,
    maps,
    base_models,
    classifiers,
    paper,
    plan,
    doctor,
    verify,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.rankings.input,
        rules.kernels.input,
        rules.figures.input,
        rules.explorers.input,
        rules.comparison.input,
