from snakemake.utils import min_version

min_version("9.19")


# A config that defines data sets stands alone; any other is laid over the embedded example.
if "datasets" not in config:

    configfile: "config/config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/methods.smk"
include: "rules/results.smk"
include: "rules/removed.smk"
include: "rules/planned.smk"
include: "rules/verified.smk"
include: "rules/run_validation.smk"
include: "rules/validation.smk"


pathvars:
    run="<results>/runs/{run}",
    benchmarks="<results>/benchmarks",


resource_scopes:
    gpu="local",


wildcard_constraints:
    dataset=name_pattern("datasets"),
    base=name_pattern("bases"),
    model=name_pattern("models"),
    run=name_pattern("runs"),
    bank=name_pattern("banks"),
    feature="|".join([*FEATURES, CHECKPOINT_FEATURE]),
    split="train|queries",
    range=r"\d{8}-\d{8}",
    study="|".join(CONTROLS),
    removal="|".join([*CONTROLS["thickness"], *GRADIENT_METHODS, *CHECKPOINT_METHODS, *SAMPLE_METHODS]),
    method="|".join(GRADIENT_METHODS + CHECKPOINT_METHODS + SAMPLE_METHODS),
    v=r"\d+|full",


include: "rules/dataset.smk"
include: "rules/model.smk"
include: "rules/queries.smk"
include: "rules/gradients.smk"
include: "rules/influence.smk"
include: "rules/kernels.smk"
include: "rules/evaluation.smk"
include: "rules/ablation.smk"
include: "rules/report.smk"
include: "rules/comparison.smk"
include: "rules/retraining.smk"
include: "rules/removal.smk"
include: "rules/paper.smk"
include: "rules/plan.smk"
include: "rules/verify.smk"


onstart:
    # Only where gradients are to be made: a full disk must not keep anyone from asking for the plan.
    if any(job.rule.name == "cache_gradients" for job in workflow.dag.needrun_jobs()):
        check_disk()


localrules:
    all,
    datasets,
    models,
    gradients,
    indexes,
    influence,
    kernels,
    tables,
    figures,
    explorers,
    comparison,
    ablations,
    lds,
    removal,
    thickness,
    base_models,
    classifiers,
    paper,
    plan,
    verify,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.kernels.input,
        rules.figures.input,
        rules.explorers.input,
        rules.comparison.input,
