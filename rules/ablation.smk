# Studies of the methods, the index and compression that need no pass of the model; target ablations.


rule evaluate_hubness:
    input:
        tops=lambda w: exact_tops(w.run),
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
    output:
        report(
            "<run>/tables/hubness.csv",
            caption="../report/hubness.rst",
            category="Tables",
            labels={"run": "{run}", "table": "generally influential images"},
        ),
    log:
        "<logs>/evaluate_hubness/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_hubness/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        evaluation=section("runs", "{run}", "evaluation"),
        code=code_digest("evaluate_hubness"),
    script:
        "../scripts/evaluate_hubness.py"


rule plot_hubness:
    input:
        "<run>/tables/hubness.csv",
    output:
        figure(
            "hubness",
            "hubness",
            "Ablations",
            figure="generally influential images",
            run="{run}",
        ),
    log:
        "<logs>/plot_hubness/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_hubness"),
    script:
        "../scripts/plot_hubness.py"


rule evaluate_cost_summary:
    input:
        unpack(metrics_of),
    output:
        table=report(
            "<run>/tables/cost_summary.csv",
            caption="../report/cost_summary.rst",
            category="Tables",
            labels={"run": "{run}", "table": "cost of each method"},
        ),
        page="<run>/tables/cost_summary.md",
    log:
        "<logs>/evaluate_cost_summary/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_cost_summary/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        stages=["cache", "query", "compress", "index", "score", "retrieve"],
        read=lambda w: canonical(read_caches(run_of(w))),
        code=code_digest("evaluate_cost_summary"),
    script:
        "../scripts/evaluate_cost_summary.py"


# Temporary, because each of the many indexes holds all sketches in single precision.
use rule build_index as build_ablated_index with:
    output:
        index=temp("<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.hnsw"),
        description="<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.json",
        metrics="<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.metrics.json",
    log:
        "<logs>/build_ablated_index/{run}/v{v}/M{M}-efc{efc}.log",
    benchmark:
        "<benchmarks>/build_ablated_index/{run}/v{v}/M{M}-efc{efc}.tsv"


rule search_index:
    input:
        index="<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.hnsw",
        description="<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.json",
        metrics="<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.metrics.json",
        queries="<run>/sketch/loss/v{v}/queries.npy",
        exact="<run>/influence/dmin/v{v}/exact/top.parquet",
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        query_samples="<run>/queries/queries.parquet",
    output:
        "<run>/ablation/hnsw/v{v}/M{M}-efc{efc}.csv",
    log:
        "<logs>/search_index/{run}/v{v}/M{M}-efc{efc}.log",
    benchmark:
        "<benchmarks>/search_index/{run}/v{v}/M{M}-efc{efc}.tsv"
    wildcard_constraints:
        v=r"\d+",
        M=r"\d+",
        efc=r"\d+",
    # Searched as soon as it is built, so that few indexes lie on the disk at a time.
    priority: 1
    conda:
        "../envs/dmin.yaml"
    params:
        settings=lambda w: canonical(
            {
                "ef": run_of(w)["ablation"]["hnsw"]["ef"],
                "k": run_of(w)["evaluation"]["k"],
                "top_k": run_of(w)["influence"]["top_k"],
            }
        ),
        code=code_digest("search_index"),
    script:
        "../scripts/search_index.py"


rule evaluate_hnsw:
    input:
        ablated_indexes,
    output:
        report(
            "<run>/tables/hnsw_ablation.csv",
            caption="../report/hnsw.rst",
            category="Tables",
            labels={"run": "{run}", "table": "HNSW settings"},
        ),
    log:
        "<logs>/evaluate_hnsw/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_hnsw/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("evaluate_hnsw"),
    script:
        "../scripts/evaluate_hnsw.py"


rule plot_hnsw:
    input:
        "<run>/tables/hnsw_ablation.csv",
    output:
        figure("hnsw", "hnsw", "Ablations", figure="HNSW settings", run="{run}"),
    log:
        "<logs>/plot_hnsw/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_hnsw"),
    script:
        "../scripts/plot_hnsw.py"


rule score_compressed:
    input:
        train=lambda w: cached_sketch(w, "train"),
        queries=lambda w: cached_sketch(w, "queries"),
        train_shards=lambda w: shards(w.run, feature_of(w.method, "train"), "train"),
        query_shards=lambda w: shards(w.run, feature_of(w.method, "queries"), "queries"),
        reference=uncompressed_scores,
        samples=lambda w: f"<results>/datasets/{model_of(w)['dataset']}/train.parquet",
        query_samples="<run>/queries/queries.parquet",
        losses=lambda w: bank_losses(w) if "lds" in run_of(w) else [],
        sets=lambda w: bank_sets(w) if "lds" in run_of(w) else [],
    output:
        "<run>/ablation/compression/{method}.csv",
    log:
        "<logs>/score_compressed/{run}/{method}.log",
    benchmark:
        "<benchmarks>/score_compressed/{run}/{method}.tsv"
    wildcard_constraints:
        method="|".join(COMPRESSED_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: config["compute"]["threads"]
    params:
        widths=compression_widths,
        storage=lambda w: sorted(run_of(w)["ablation"]["compression"]["storage"]),
        options=section("runs", "{run}", "influence", "options"),
        evaluation=section("runs", "{run}", "evaluation"),
        judging=lambda w: lds_interval(w) if "lds" in run_of(w) else {},
        code=code_digest("score_compressed"),
    script:
        "../scripts/score_compressed.py"


rule evaluate_compression:
    input:
        lambda w: [f"<results>/runs/{w.run}/ablation/compression/{method}.csv" for method in compressed_methods(w.run)],
    output:
        report(
            "<run>/tables/compression_ablation.csv",
            caption="../report/compression.rst",
            category="Tables",
            labels={"run": "{run}", "table": "compression"},
        ),
    log:
        "<logs>/evaluate_compression/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_compression/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code_digest("evaluate_compression"),
    script:
        "../scripts/evaluate_compression.py"


rule plot_compression:
    input:
        compression="<run>/tables/compression_ablation.csv",
        detection="<run>/tables/detection_rate.csv",
        cost="<run>/tables/cost_summary.csv",
    output:
        figure(
            "compression",
            "compression",
            "Ablations",
            figure="bytes per image",
            run="{run}",
        ),
    log:
        "<logs>/plot_compression/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_compression"),
    script:
        "../scripts/plot_compression.py"


rule plot_budget:
    input:
        compression="<run>/tables/compression_ablation.csv",
        detection="<run>/tables/detection_rate.csv",
        cost="<run>/tables/cost_summary.csv",
        lds=lambda w: [f"<results>/runs/{w.run}/tables/lds.csv"] if "lds" in run_of(w) else [],
    output:
        figure(
            "budget",
            "budget",
            "Ablations",
            figure="what bytes buy",
            run="{run}",
        ),
    log:
        "<logs>/plot_budget/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=figure_settings(),
        code=code_digest("plot_budget"),
    script:
        "../scripts/plot_budget.py"


rule ablations:
    input:
        [
            f"<results>/runs/{run}/{name}"
            for run in config["runs"]
            for name in ["figures/hubness.svg", "figures/hubness.png", "tables/cost_summary.csv"]
        ],
        [
            f"<results>/runs/{run}/figures/{name}.{suffix}"
            for run, settings in config["runs"].items()
            if "ablation" in settings
            for name in ("hnsw", "compression", "budget")
            for suffix in ("svg", "png")
        ],
