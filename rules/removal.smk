# What a model generates once training samples are removed: counterfactual removal, and the study of stroke thickness.


rule choose_removals:
    input:
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
        scores=removal_scores,
        descriptions=score_descriptions,
    output:
        "<run>/removal/{removal}/removed.parquet",
    log:
        "<logs>/choose_removals/{run}/{removal}.log",
    benchmark:
        "<benchmarks>/choose_removals/{run}/{removal}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=removal_settings,
        code=code_digest("choose_removals"),
    script:
        "../scripts/choose_removals.py"


rule choose_thickness_removals:
    input:
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        queries="<run>/queries/queries.parquet",
        scores=removal_scores,
        descriptions=score_descriptions,
        reference=removal_reference,
    output:
        "<run>/thickness/{removal}/removed.parquet",
    log:
        "<logs>/choose_thickness_removals/{run}/{removal}.log",
    benchmark:
        "<benchmarks>/choose_thickness_removals/{run}/{removal}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        settings=thickness_settings,
        code=code_digest("choose_thickness_removals"),
    script:
        "../scripts/choose_thickness_removals.py"


rule retrain_without:
    input:
        samples=lambda w: "<results>/encoded/{dataset}/{base}/train.safetensors".format(**model_of(w)),
        removed="<run>/{study}/{removal}/removed.parquet",
        base=base_files,
    output:
        directory("<run>/{study}/{removal}/models/{range}"),
    log:
        "<logs>/retrain_without/{run}/{study}/{removal}/{range}.log",
    benchmark:
        "<benchmarks>/retrain_without/{run}/{study}/{removal}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: 1 if gpus() == 0 else config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        save_every=config["compute"]["save_every"],
    params:
        model=lambda w: canonical(model_of(w)),
        base=lambda w: canonical(base_of(w)),
        bank=retraining_bank,
        code=code_digest("retrain_without"),
    script:
        "../scripts/retrain_without.py"


rule regenerate:
    input:
        models="<run>/{study}/{removal}/models/{range}",
        removed="<run>/{study}/{removal}/removed.parquet",
        images=original_images,
        base=base_files,
    output:
        "<run>/{study}/{removal}/images/{range}.parquet",
    log:
        "<logs>/regenerate/{run}/{study}/{removal}/{range}.log",
    benchmark:
        "<benchmarks>/regenerate/{run}/{study}/{removal}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: 1 if gpus() == 0 else config["compute"]["threads"]
    resources:
        gpu=gpus(),
        device=config["compute"]["device"],
        batch=config["compute"]["sample_batch"],
    params:
        base=lambda w: canonical(base_of(w)),
        finetune=lambda w: model_of(w)["finetune"],
        bank=removal_bank,
        sampling=sampling_settings,
        code=code_digest("regenerate"),
    script:
        "../scripts/regenerate.py"


rule evaluate_removal:
    input:
        images=regenerated("removal"),
        queries="<run>/queries/queries.parquet",
    output:
        table="<run>/tables/removal.csv",
        summary=report(
            "<run>/tables/removal_summary.csv",
            caption="../report/removal_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "counterfactual removal"},
        ),
    log:
        "<logs>/evaluate_removal/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_removal/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    resources:
        batch=config["compute"]["encode_batch"],
    params:
        removals=removal_of_each("removal"),
        widths=removal_widths("removal"),
        settings=lambda w: canonical({"k": removal_k(w.run), "budget": run_of(w)["removal"]["budget"]} | intervals(w)),
        code=code_digest("evaluate_removal"),
    script:
        "../scripts/evaluate_removal.py"


rule plot_removal:
    input:
        "<run>/tables/removal_summary.csv",
    output:
        figure(
            "removal",
            "removal",
            "Counterfactual removal",
            figure="distances",
            run="{run}",
        ),
    log:
        "<logs>/plot_removal/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_removal"),
    script:
        "../scripts/plot_removal.py"


rule plot_removal_images:
    input:
        images=regenerated("removal"),
        queries="<run>/queries/queries.parquet",
    output:
        figure(
            "removal_images",
            "removal_images",
            "Counterfactual removal",
            figure="images",
            run="{run}",
        ),
    log:
        "<logs>/plot_removal_images/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        removals=removal_of_each("removal"),
        figures=figure_settings(),
        code=code_digest("plot_removal_images"),
    script:
        "../scripts/plot_removal_images.py"


rule removal:
    input:
        [f"<results>/runs/{run}/tables/removal_summary.csv" for run in studied("removal")],
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run in studied("removal")
            for name in ("removal", "removal_images")
            for suffix in ("svg", "png")
        ],


rule evaluate_thickness:
    input:
        images=regenerated("thickness"),
        removed=lambda w: [
            f"<results>/runs/{w.run}/thickness/{removal}/removed.parquet"
            for removal in removals_of(w.run, "thickness")
        ],
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        classifier=lambda w: run_of(w)["queries"]["classifier"]["path"],
    output:
        table=report(
            "<run>/tables/thickness.csv",
            caption="../report/thickness_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "stroke thickness"},
        ),
        removed=report(
            "<run>/tables/thickness_removed.csv",
            caption="../report/thickness_removed.rst",
            category="Tables",
            labels={"run": "{run}", "table": "removed digits"},
        ),
        values="<run>/thickness/values.parquet",
    log:
        "<logs>/evaluate_thickness/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_thickness/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        removals=removal_of_each("thickness"),
        removed=lambda w: removals_of(w.run, "thickness"),
        widths=removal_widths("thickness"),
        settings=lambda w: canonical(
            {"budget": run_of(w)["thickness"]["budget"], "least": run_of(w)["queries"]["classifier"]["confidence"]}
            | intervals(w)
        ),
        code=code_digest("evaluate_thickness"),
    script:
        "../scripts/evaluate_thickness.py"


rule plot_thickness:
    input:
        table="<run>/tables/thickness.csv",
        values="<run>/thickness/values.parquet",
    output:
        figure("thickness", "thickness", "Stroke thickness", figure="shift", run="{run}"),
    log:
        "<logs>/plot_thickness/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_thickness"),
    script:
        "../scripts/plot_thickness.py"


rule plot_thickness_images:
    input:
        images=regenerated("thickness"),
        queries="<run>/queries/candidates.parquet",
    output:
        figure(
            "thickness_images",
            "thickness_images",
            "Stroke thickness",
            figure="images",
            run="{run}",
        ),
    log:
        "<logs>/plot_thickness_images/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        removals=removal_of_each("thickness"),
        figures=figure_settings(),
        code=code_digest("plot_thickness_images"),
    script:
        "../scripts/plot_thickness_images.py"


rule thickness:
    input:
        [
            f"<results>/runs/{run}/tables/{name}.csv"
            for run in studied("thickness")
            for name in ("thickness", "thickness_removed")
        ],
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run in studied("thickness")
            for name in ("thickness", "thickness_images")
            for suffix in ("svg", "png")
        ],
