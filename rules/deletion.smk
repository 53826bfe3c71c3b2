# The losses of queries once training samples are removed, beside the LDS; the retrainings are those of rules/removal.smk.


use rule measure_losses as measure_losses_without with:
    input:
        models="<run>/deletion/{removal}/models/{range}",
        removed=lambda w: dmin.removed_by(checkpoints, w.run, "deletion", w.removal),
        queries="<run>/queries/queries.safetensors",
        base=ancient(lambda w: runs[w.run].model.base.files),
    output:
        "<run>/deletion/{removal}/losses/{range}.parquet",
    log:
        "<logs>/measure_losses_without/{run}/{removal}/{range}.log",
    benchmark:
        "<benchmarks>/measure_losses_without/{run}/{removal}/{range}.tsv"
    params:
        base=lambda w: runs[w.run].model.base.settings,
        base_contents=contents.base,
        finetune=lambda w: runs[w.run].model.settings["finetune"],
        bank=lambda w: runs[w.run].studies["deletion"].range_settings(w.removal, w.range),
        lds=lambda w: runs[w.run].studies["deletion"].loss_settings,
        code=code("measure_losses", "family"),


rule evaluate_top_deletion:
    input:
        losses=lambda w: runs[w.run].studies["deletion"].losses,
        removed=lambda w: runs[w.run].studies["deletion"].removed,
    output:
        report(
            "<run>/tables/deletion.csv",
            caption="../report/top_deletion.rst",
            category="Tables",
            labels={"run": "{run}", "table": "deletion"},
        ),
    log:
        "<logs>/evaluate_top_deletion/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_top_deletion/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        removals=lambda w: runs[w.run].studies["deletion"].removal_of_ranges,
        widths=lambda w: runs[w.run].studies["deletion"].widths,
        confidence=lambda w: runs[w.run].evaluation["confidence"],
        code=code("evaluate_top_deletion"),
    script:
        "../scripts/evaluate_top_deletion.py"


rule plot_lds_deletion:
    input:
        lds="<run>/tables/lds.csv",
        deletion="<run>/tables/deletion.csv",
    output:
        figure(
            "lds_deletion",
            "lds_deletion",
            "Comparison",
            figure="LDS and deletion",
            run="{run}",
        ),
    log:
        "<logs>/plot_lds_deletion/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_lds_deletion", "looks"),
    script:
        "../scripts/plot_lds_deletion.py"


rule deletion:
    input:
        [run.table("deletion") for run in tables.studied("deletion")],
        [run.figures("lds_deletion") for run in tables.studied("deletion") if run.lds],
