# What the methods built on a ridge kernel show beside their scores: the choice of lambda, and the steps of a journey.


rule sweep_lambda:
    input:
        train=lambda w: gradients_at(w, "train"),
        queries=lambda w: gradients_at(w, "queries"),
        train_norms=lambda w: shards(w.run, feature_of(w.method, "train"), "train"),
        query_norms=lambda w: shards(w.run, feature_of(w.method, "queries"), "queries"),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        query_samples="<run>/queries/queries.parquet",
    output:
        "<run>/influence/{method}/v{v}/lambda.csv",
    log:
        "<logs>/sweep_lambda/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/sweep_lambda/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method="|".join(KERNEL_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        k=lambda w: run_of(w)["evaluation"]["k"],
        options=section("runs", "{run}", "influence", "options"),
        code=code_digest("sweep_lambda"),
    script:
        "../scripts/sweep_lambda.py"


rule evaluate_lambda:
    input:
        lambda w: lambda_sweeps(w.run),
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
        code=code_digest("evaluate_lambda"),
    script:
        "../scripts/evaluate_lambda.py"


rule score_journey_steps:
    input:
        train="<run>/sketch/loss/v{v}/train.npy",
        queries="<run>/sketch/journey/v{v}/queries.npy",
        train_norms=lambda w: shards(w.run, "loss", "train"),
        query_norms=lambda w: shards(w.run, "journey", "queries"),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
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
    threads: config["compute"]["threads"]
    params:
        k=lambda w: run_of(w)["evaluation"]["k"],
        options=section("runs", "{run}", "influence", "options"),
        code=code_digest("score_journey_steps"),
    script:
        "../scripts/score_journey_steps.py"


rule evaluate_journey_steps:
    input:
        lambda w: journey_steps(w.run),
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
        code=code_digest("evaluate_journey_steps"),
    script:
        "../scripts/evaluate_journey_steps.py"


rule kernels:
    input:
        [f"<results>/runs/{run}/tables/lambda.csv" for run in config["runs"] if lambda_sweeps(run)],
        [f"<results>/runs/{run}/tables/journey_steps.csv" for run in config["runs"] if journey_steps(run)],
