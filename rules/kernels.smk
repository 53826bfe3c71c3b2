# What single methods show beside their scores: the choice of lambda, the steps of a journey, what LiSSA's curvature changed.


rule sweep_lambda:
    input:
        train=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "train"),
        queries=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "queries"),
        train_norms=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_norms=lambda w: runs[w.run].influence.shards(w.method, "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        table="<run>/influence/{method}/v{v}/lambda.csv",
        top="<run>/influence/{method}/v{v}/held_out/top.parquet",
    log:
        "<logs>/sweep_lambda/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/sweep_lambda/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.KERNEL_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.scoring_mb(runs[w.run].gradients, w.method, w.v),
    params:
        k=lambda w: runs[w.run].evaluation["k"],
        options=lambda w: runs[w.run].influence.options_of(w.method, "lambda_grid", "seed"),
        code=code("sweep_lambda", "method"),
    script:
        "../scripts/sweep_lambda.py"


rule evaluate_lambda:
    input:
        lambda w: runs[w.run].influence.lambda_sweeps(),
    output:
        report(
            "<run>/tables/lambda.csv",
            caption="../report/lambda_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "lambda"},
        ),
    log:
        "<logs>/evaluate_lambda/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lambda/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


rule score_journey_steps:
    input:
        train="<run>/sketch/loss/v{v}/train.npy",
        queries="<run>/sketch/journey/v{v}/queries.npy",
        train_norms=lambda w: runs[w.run].influence.shards("journey_trak", "train"),
        query_norms=lambda w: runs[w.run].influence.shards("journey_trak", "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/journey_trak/v{v}/steps.npy",
        rates="<run>/influence/journey_trak/v{v}/steps.csv",
    log:
        "<logs>/score_journey_steps/{run}/v{v}.log",
    benchmark:
        "<benchmarks>/score_journey_steps/{run}/v{v}.tsv"
    wildcard_constraints:
        v=r"\d+",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.scoring_mb(runs[w.run].gradients, "journey_trak", w.v),
    params:
        k=lambda w: runs[w.run].evaluation["k"],
        options=lambda w: runs[w.run].influence.options_of("journey_trak"),
        code=code("score_journey_steps"),
    script:
        "../scripts/score_journey_steps.py"


rule evaluate_journey_steps:
    input:
        lambda w: runs[w.run].influence.journey_steps(),
    output:
        report(
            "<run>/tables/journey_steps.csv",
            caption="../report/journey_steps.rst",
            category="Tables",
            labels={"run": "{run}", "table": "steps of the journey"},
        ),
    log:
        "<logs>/evaluate_journey_steps/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_journey_steps/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


rule evaluate_lissa:
    input:
        shards=lambda w: runs[w.run].gradients.shards("lissa", "queries"),
        queries="<run>/queries/queries.parquet",
    output:
        report(
            "<run>/tables/lissa.csv",
            caption="../report/lissa.rst",
            category="Tables",
            labels={"run": "{run}", "table": "LiSSA's answers"},
        ),
    log:
        "<logs>/evaluate_lissa/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lissa/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("evaluate_lissa"),
    script:
        "../scripts/evaluate_lissa.py"


rule kernels:
    input:
        [run.table("lambda") for run in runs.values() if run.influence.lambda_sweeps()],
        [run.table("journey_steps") for run in runs.values() if run.influence.journey_steps()],
        [run.table("lissa") for run in runs.values() if "lissa" in run.influence.methods],
