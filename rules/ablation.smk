# Studies of the methods, the index and compression that need no pass of the model; target ablations.


rule evaluate_hubness:
    input:
        tops=lambda w: runs[w.run].influence.tops,
        samples=lambda w: runs[w.run].model.dataset.train,
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
        evaluation=lambda w: runs[w.run].evaluation,
        code=code("evaluate_hubness"),
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
        figures=tables.figure_settings(),
        code=code("plot_hubness", "looks"),
    script:
        "../scripts/plot_hubness.py"


rule evaluate_cost_summary:
    input:
        unpack(lambda w: dmin.stage_metrics(runs[w.run].influence)),
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
        read=lambda w: runs[w.run].influence.read_caches,
        code=code("evaluate_cost_summary"),
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
        queries=lambda w: runs[w.run].influence.indexed_sketch(w.v, "queries"),
        exact=lambda w: runs[w.run].influence.top(runs[w.run].influence.indexed, w.v),
        samples=lambda w: runs[w.run].model.dataset.train,
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
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.index_mb(runs[w.run].gradients, w.v, int(w.M)),
    params:
        settings=lambda w: runs[w.run].ablation.search_settings,
        code=code("search_index"),
    script:
        "../scripts/search_index.py"


rule evaluate_hnsw:
    input:
        lambda w: runs[w.run].ablation.searched,
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
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


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
        figures=tables.figure_settings(),
        code=code("plot_hnsw"),
    script:
        "../scripts/plot_hnsw.py"


rule score_compressed:
    input:
        train=lambda w: runs[w.run].ablation.sketch(w.method, "train"),
        queries=lambda w: runs[w.run].ablation.sketch(w.method, "queries"),
        train_shards=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_shards=lambda w: runs[w.run].influence.shards(w.method, "queries"),
        reference=lambda w: runs[w.run].ablation.uncompressed_scores(w.method),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
        losses=lambda w: runs[w.run].lds.losses if runs[w.run].lds else [],
        sets=lambda w: runs[w.run].lds.bank.sets if runs[w.run].lds else [],
    output:
        "<run>/ablation/compression/{method}.csv",
    log:
        "<logs>/score_compressed/{run}/{method}.log",
    benchmark:
        "<benchmarks>/score_compressed/{run}/{method}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.COMPRESSED_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * runs[w.run].ablation.scoring_mb(w.method),
    params:
        widths=lambda w: runs[w.run].ablation.widths,
        storage=lambda w: runs[w.run].ablation.storage,
        options=lambda w: runs[w.run].influence.options_of(w.method),
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        judging=lambda w: runs[w.run].lds.interval if runs[w.run].lds else {},
        code=code("score_compressed", "method"),
    script:
        "../scripts/score_compressed.py"


rule evaluate_compression:
    input:
        lambda w: runs[w.run].ablation.compressed,
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
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


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
        figures=tables.figure_settings(),
        code=code("plot_compression", "looks"),
    script:
        "../scripts/plot_compression.py"


rule plot_budget:
    input:
        compression="<run>/tables/compression_ablation.csv",
        detection="<run>/tables/detection_rate.csv",
        cost="<run>/tables/cost_summary.csv",
        lds=lambda w: [runs[w.run].table("lds")] if runs[w.run].lds else [],
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
        figures=tables.figure_settings(),
        code=code("plot_budget", "looks"),
    script:
        "../scripts/plot_budget.py"


rule ablations:
    input:
        [run.figures("hubness") + [run.table("cost_summary")] for run in runs.values()],
        [run.figures("hnsw", "compression", "budget") for run in runs.values() if "ablation" in run.settings],
        [run.table(name) for run in runs.values() if "ablation" in run.settings for name in run.ablation.tables],
