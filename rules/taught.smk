# Methods that learn the scores of another.


rule score_taught:
    input:
        unpack(lambda w: runs[w.run].influence.teacher_gradients),
        samples=lambda w: runs[w.run].model.dataset.train,
        queries="<run>/queries/queries.parquet",
    output:
        scores="<run>/influence/{method}/scores.npy",
        description="<run>/influence/{method}/scores.json",
        top="<run>/influence/{method}/top.parquet",
        metrics="<run>/influence/{method}/scores.metrics.json",
    log:
        "<logs>/score_taught/{run}/{method}.log",
    benchmark:
        "<benchmarks>/score_taught/{run}/{method}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.TAUGHT_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * dmin.taught_mb(runs[w.run].gradients),
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        top_k=lambda w: runs[w.run].influence.settings["top_k"],
        options=lambda w: runs[w.run].influence.options_of(w.method),
        code=code("score_taught", "method"),
    script:
        "../scripts/score_taught.py"


# What a student of another method is worth with the bytes that it keeps, as a row among the sketches.
rule judge_taught:
    input:
        scores="<run>/influence/{method}/scores.npy",
        reference=lambda w: runs[w.run].ablation.teacher_scores,
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
        losses=lambda w: runs[w.run].lds.losses if runs[w.run].lds else [],
        sets=lambda w: runs[w.run].lds.bank.sets if runs[w.run].lds else [],
    output:
        "<run>/ablation/compression/{method}.csv",
    log:
        "<logs>/judge_taught/{run}/{method}.log",
    benchmark:
        "<benchmarks>/judge_taught/{run}/{method}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.TAUGHT_METHODS),
    conda:
        "../envs/dmin.yaml"
    params:
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        judging=lambda w: runs[w.run].lds.interval if runs[w.run].lds else {},
        code=code("judge_taught", "method"),
    script:
        "../scripts/judge_taught.py"
