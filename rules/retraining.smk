# Models retrained on random parts of the training set, and how well scores foretell what they do.


rule draw_sets:
    input:
        lambda w: banks[w.bank].model.dataset.train,
    output:
        "<results>/banks/{bank}/sets/{range}.parquet",
    log:
        "<logs>/draw_sets/{bank}/{range}.log",
    benchmark:
        "<benchmarks>/draw_sets/{bank}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        bank=lambda w: banks[w.bank].draw_settings,
        code=code("draw_sets"),
    script:
        "../scripts/draw_sets.py"


rule retrain_subsets:
    input:
        samples=lambda w: banks[w.bank].model.samples,
        sets="<results>/banks/{bank}/sets/{range}.parquet",
        base=ancient(lambda w: banks[w.bank].model.base.files),
    output:
        directory("<results>/banks/{bank}/models/{range}"),
    log:
        "<logs>/retrain_subsets/{bank}/{range}.log",
    benchmark:
        "<benchmarks>/retrain_subsets/{bank}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(banks[w.bank].model.base, copies=5),
        gpu=tables.gpus,
        device=compute["device"],
        save_every=compute["save_every"],
    params:
        model=lambda w: banks[w.bank].model.retraining,
        base=lambda w: banks[w.bank].model.base.settings,
        base_contents=contents.base,
        bank=lambda w: banks[w.bank].range_settings(w.range, "seed"),
        code=code("retrain_subsets", "family"),
    script:
        "../scripts/retrain_subsets.py"


rule measure_losses:
    input:
        models=lambda w: runs[w.run].judged.bank.models(w.range),
        queries="<run>/queries/queries.safetensors",
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/lds/losses/{range}.parquet",
    log:
        "<logs>/measure_losses/{run}/{range}.log",
    benchmark:
        "<benchmarks>/measure_losses/{run}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(runs[w.run].model.base),
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["gradient_batch"],
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        finetune=lambda w: runs[w.run].model.settings["finetune"],
        bank=lambda w: runs[w.run].judged.bank.range_settings(w.range),
        lds=lambda w: runs[w.run].judged.loss_settings,
        code=code("measure_losses", "family"),
    script:
        "../scripts/measure_losses.py"


rule evaluate_lds:
    input:
        losses=lambda w: runs[w.run].judged.losses,
        sets=lambda w: runs[w.run].judged.bank.sets,
        scores=lambda w: runs[w.run].influence.scored_files("scores.npy"),
        descriptions=lambda w: runs[w.run].influence.scored_files("scores.json"),
    output:
        table=report(
            "<run>/tables/lds.csv",
            caption="../report/lds_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "LDS"},
        ),
        queries="<run>/tables/lds_queries.csv",
    log:
        "<logs>/evaluate_lds/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lds/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: [list(pair) for pair in runs[w.run].influence.scored],
        query_set=lambda w: runs[w.run].queries.settings["source"],
        settings=lambda w: runs[w.run].judged.interval,
        code=code("evaluate_lds"),
    script:
        "../scripts/evaluate_lds.py"


rule evaluate_lds_bands:
    input:
        losses=lambda w: runs[w.run].judged.losses,
        sets=lambda w: runs[w.run].judged.bank.sets,
        scores=lambda w: runs[w.run].influence.scored_files("scores.npy"),
        descriptions=lambda w: runs[w.run].influence.scored_files("scores.json"),
    output:
        report(
            "<run>/tables/lds_bands.csv",
            caption="../report/lds_bands.rst",
            category="Tables",
            labels={"run": "{run}", "table": "LDS by timestep"},
        ),
    log:
        "<logs>/evaluate_lds_bands/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_lds_bands/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: [list(pair) for pair in runs[w.run].influence.scored],
        banding=lambda w: runs[w.run].judged.band_settings,
        settings=lambda w: runs[w.run].judged.interval,
        code=code("evaluate_lds_bands"),
    script:
        "../scripts/evaluate_lds_bands.py"


rule plot_lds_bands:
    input:
        "<run>/tables/lds_bands.csv",
    output:
        figure(
            "lds_bands",
            "lds_bands",
            "Comparison",
            figure="LDS by timestep",
            run="{run}",
        ),
    log:
        "<logs>/plot_lds_bands/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_lds_bands", "looks"),
    script:
        "../scripts/plot_lds_bands.py"


rule pool_lds:
    input:
        unpack(lambda w: tables.pooling.files),
    output:
        report(
            "<results>/banks/pooled_lds.csv",
            caption="../report/pooled_lds.rst",
            category="Tables",
            labels={"run": "all", "table": "pooled LDS"},
        ),
    log:
        "<logs>/pool_lds/all.log",
    benchmark:
        "<benchmarks>/pool_lds/all.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        runs=lambda w: tables.pooling.settings,
        interval=lambda w: tables.pooling.interval,
        code=code("pool_lds"),
    script:
        "../scripts/pool_lds.py"


rule sweep_lds_lambda:
    input:
        train=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "train"),
        queries=lambda w: runs[w.run].influence.gradients_at(w.method, w.v, "queries"),
        train_norms=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_norms=lambda w: runs[w.run].influence.shards(w.method, "queries"),
        losses=lambda w: runs[w.run].judged.losses,
        sets=lambda w: runs[w.run].judged.bank.sets,
    output:
        "<run>/influence/{method}/v{v}/lds_lambda.csv",
    log:
        "<logs>/sweep_lds_lambda/{run}/{method}/v{v}.log",
    benchmark:
        "<benchmarks>/sweep_lds_lambda/{run}/{method}/v{v}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.KERNEL_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.scoring_mb(runs[w.run].gradients, w.method, w.v),
    params:
        options=lambda w: runs[w.run].influence.options_of(w.method, "lambda_grid", "seed"),
        judging=lambda w: runs[w.run].judged.interval,
        code=code("sweep_lds_lambda", "method"),
    script:
        "../scripts/sweep_lds_lambda.py"


rule evaluate_lds_lambda:
    input:
        lambda w: runs[w.run].judged.sweeps(),
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
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


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
        figures=tables.figure_settings(),
        code=code("plot_yardsticks", "looks"),
    script:
        "../scripts/plot_yardsticks.py"


rule lds:
    input:
        tables.pooling.table,
        [run.table(name) for run in runs.values() if run.lds for name in ("lds", "lds_bands")],
        [run.table("lds_lambda") for run in runs.values() if run.lds and run.lds.sweeps()],
        [run.figures("yardsticks", "lds_bands") for run in runs.values() if run.lds],
        [
            [run.table("risk_coverage"), *run.figures("risk_coverage")]
            for run in runs.values()
            if run.lds and run.tells_risk
        ],
