# Models retrained on random parts of the training set, and how well scores foretell what they do.


rule draw_sets:
    input:
        lambda w: "<results>/datasets/{dataset}/train.parquet".format(
            **config["models"][config["banks"][w.bank]["model"]]
        ),
    output:
        "<results>/banks/{bank}/sets/{range}.parquet",
    log:
        "<logs>/draw_sets/{bank}/{range}.log",
    benchmark:
        "<benchmarks>/draw_sets/{bank}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        bank=lambda w: canonical({key: config["banks"][w.bank][key] for key in ("seeds", "fraction", "seed")}),
        code=code_digest("draw_sets"),
    script:
        "../scripts/draw_sets.py"


rule retrain_subsets:
    input:
        samples=lambda w: "<results>/encoded/{dataset}/{base}/train.safetensors".format(
            **config["models"][config["banks"][w.bank]["model"]]
        ),
        sets="<results>/banks/{bank}/sets/{range}.parquet",
        base=lambda w: files_below(config["bases"][config["models"][config["banks"][w.bank]["model"]]["base"]]["path"]),
    output:
        directory("<results>/banks/{bank}/models/{range}"),
    log:
        "<logs>/retrain_subsets/{bank}/{range}.log",
    benchmark:
        "<benchmarks>/retrain_subsets/{bank}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: 1 if gpus() == 0 else config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        save_every=config["compute"]["save_every"],
    params:
        model=lambda w: canonical(config["models"][config["banks"][w.bank]["model"]]),
        base=lambda w: canonical(config["bases"][config["models"][config["banks"][w.bank]["model"]]["base"]]),
        bank=lambda w: span_settings(config["banks"][w.bank], w.range, "seed"),
        code=code_digest("retrain_subsets"),
    script:
        "../scripts/retrain_subsets.py"


rule measure_losses:
    input:
        models=lambda w: f"<results>/banks/{run_of(w)['lds']['bank']}/models/{w.range}",
        queries="<run>/queries/queries.safetensors",
        base=base_files,
    output:
        "<run>/lds/losses/{range}.parquet",
    log:
        "<logs>/measure_losses/{run}/{range}.log",
    benchmark:
        "<benchmarks>/measure_losses/{run}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: 1 if gpus() == 0 else config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["gradient_batch"],
    params:
        base=lambda w: canonical(base_of(w)),
        finetune=lambda w: model_of(w)["finetune"],
        bank=lambda w: span_settings(bank_of(w), w.range),
        lds=lambda w: canonical({key: run_of(w)["lds"][key] for key in ("timesteps", "seed")}),
        code=code_digest("measure_losses"),
    script:
        "../scripts/measure_losses.py"


rule evaluate_lds:
    input:
        losses=bank_losses,
        sets=bank_sets,
        scores=lambda w: [f"{folder}/scores.npy" for folder in scored_methods(w.run).values()],
        descriptions=lambda w: [f"{folder}/scores.json" for folder in scored_methods(w.run).values()],
    output:
        report(
            "<run>/tables/lds.csv",
            caption="../report/lds_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "LDS"},
        ),
    log:
        "<logs>/evaluate_lds/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lds/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: [list(pair) for pair in scored_methods(w.run)],
        query_set=lambda w: run_of(w)["queries"]["source"],
        settings=lds_interval,
        code=code_digest("evaluate_lds"),
    script:
        "../scripts/evaluate_lds.py"


rule sweep_lds_lambda:
    input:
        train=lambda w: gradients_at(w, "train"),
        queries=lambda w: gradients_at(w, "queries"),
        train_norms=lambda w: shards(w.run, feature_of(w.method, "train"), "train"),
        query_norms=lambda w: shards(w.run, feature_of(w.method, "queries"), "queries"),
        losses=bank_losses,
        sets=bank_sets,
    output:
        "<run>/influence/{method}/v{v}/lds_lambda.csv",
    log:
        "<logs>/sweep_lds_lambda/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/sweep_lds_lambda/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method="|".join(KERNEL_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        options=section("runs", "{run}", "influence", "options"),
        judging=lds_interval,
        code=code_digest("sweep_lds_lambda"),
    script:
        "../scripts/sweep_lds_lambda.py"


rule evaluate_lds_lambda:
    input:
        lambda w: lds_sweeps(w.run),
    output:
        report(
            "<run>/tables/lds_lambda.csv",
            caption="../report/lds_lambda.rst",
            category="Tables",
            labels={"run": "{run}", "table": "lambda by LDS"},
        ),
    log:
        "<logs>/evaluate_lds_lambda/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lds_lambda/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("evaluate_lds_lambda"),
    script:
        "../scripts/evaluate_lds_lambda.py"


rule plot_yardsticks:
    input:
        lds="<run>/tables/lds.csv",
        detection="<run>/tables/detection_rate.csv",
    output:
        figure(
            "yardsticks",
            "yardsticks",
            "Comparison",
            figure="LDS and detection rate",
            run="{run}",
        ),
    log:
        "<logs>/plot_yardsticks/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_yardsticks"),
    script:
        "../scripts/plot_yardsticks.py"


rule lds:
    input:
        [f"<results>/runs/{run}/tables/lds.csv" for run, settings in config["runs"].items() if "lds" in settings],
        [
            f"<results>/runs/{run}/tables/lds_lambda.csv"
            for run, settings in config["runs"].items()
            if "lds" in settings and lds_sweeps(run)
        ],
        [
            f"<results>/runs/{run}/figures/yardsticks.{suffix}"
            for run, settings in config["runs"].items()
            if "lds" in settings
            for suffix in ("svg", "png")
        ],
