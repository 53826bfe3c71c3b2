# What hangs on timesteps and seeds, from caches and scores that exist.


rule evaluate_timestep_cosines:
    input:
        train=lambda w: runs[w.run].ablation.shown_sketch("dmin", "train"),
        queries=lambda w: runs[w.run].ablation.shown_sketch("dmin", "queries"),
        train_shards=lambda w: runs[w.run].influence.shards("dmin", "train"),
        query_shards=lambda w: runs[w.run].influence.shards("dmin", "queries"),
    output:
        report(
            "<run>/tables/timestep_cosines.csv",
            caption="../report/timestep_cosines.rst",
            category="Tables",
            labels={"run": "{run}", "table": "gradients of two timesteps"},
        ),
    log:
        "<logs>/evaluate_timestep_cosines/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_timestep_cosines/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        confidence=lambda w: runs[w.run].evaluation["confidence"],
        code=code("evaluate_timestep_cosines"),
    script:
        "../scripts/evaluate_timestep_cosines.py"


rule score_fewer_timesteps:
    input:
        train=lambda w: runs[w.run].ablation.shown_sketch(w.method, "train"),
        queries=lambda w: runs[w.run].ablation.shown_sketch(w.method, "queries"),
        train_shards=lambda w: runs[w.run].influence.shards(w.method, "train"),
        query_shards=lambda w: runs[w.run].influence.shards(w.method, "queries"),
        samples=lambda w: runs[w.run].model.dataset.train,
        query_samples="<run>/queries/queries.parquet",
    output:
        "<run>/ablation/timesteps/{method}.csv",
    log:
        "<logs>/score_fewer_timesteps/{run}/{method}.log",
    benchmark:
        "<benchmarks>/score_fewer_timesteps/{run}/{method}.tsv"
    wildcard_constraints:
        method=dmin.one_of(dmin.COMPRESSED_METHODS),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * runs[w.run].ablation.scoring_mb(w.method),
    params:
        subsets=lambda w: runs[w.run].ablation.timestep_subsets,
        options=lambda w: runs[w.run].influence.options_of(w.method),
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        code=code("score_fewer_timesteps", "method"),
    script:
        "../scripts/score_fewer_timesteps.py"


rule evaluate_timesteps:
    input:
        lambda w: runs[w.run].ablation.fewer_timesteps,
    output:
        report(
            "<run>/tables/timesteps_ablation.csv",
            caption="../report/timesteps_ablation.rst",
            category="Tables",
            labels={"run": "{run}", "table": "fewer timesteps"},
        ),
    log:
        "<logs>/evaluate_timesteps/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_timesteps/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("join_tables"),
    script:
        "../scripts/join_tables.py"


rule evaluate_replay_bias:
    input:
        scores=lambda w: [runs[w.run].influence.scores(*pair) for pair in runs[w.run].ablation.replayed],
        descriptions=lambda w: [
            f"{runs[w.run].influence.folder(*pair)}/scores.json" for pair in runs[w.run].ablation.replayed
        ],
        shards=lambda w: runs[w.run].gradients.checkpoint_shards("train"),
    output:
        report(
            "<run>/tables/replay_bias.csv",
            caption="../report/replay_bias.rst",
            category="Tables",
            labels={"run": "{run}", "table": "influence and replayed timesteps"},
        ),
    log:
        "<logs>/evaluate_replay_bias/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_replay_bias/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        scored=lambda w: runs[w.run].ablation.replayed,
        checkpoints=lambda w: len(runs[w.run].gradients.checkpoint_caches),
        confidence=lambda w: runs[w.run].evaluation["confidence"],
        code=code("evaluate_replay_bias"),
    script:
        "../scripts/evaluate_replay_bias.py"


rule evaluate_seed_agreement:
    input:
        scores=lambda w: [
            runs[name].influence.scores(*pair)
            for pair in runs[w.run].influence.shown
            for name in (w.run, *runs[w.run].ablation.settings["seeds"])
        ],
        descriptions=lambda w: [
            f"{runs[name].influence.folder(*pair)}/scores.json"
            for pair in runs[w.run].influence.shown
            for name in (w.run, *runs[w.run].ablation.settings["seeds"])
        ],
    output:
        report(
            "<run>/tables/seed_agreement.csv",
            caption="../report/seed_agreement.rst",
            category="Tables",
            labels={"run": "{run}", "table": "agreement of seeds"},
        ),
    log:
        "<logs>/evaluate_seed_agreement/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_seed_agreement/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        scored=lambda w: runs[w.run].influence.shown,
        runs=lambda w: [w.run, *runs[w.run].ablation.settings["seeds"]],
        evaluation=lambda w: dmin.pick(runs[w.run].evaluation, "k", "confidence"),
        code=code("evaluate_seed_agreement"),
    script:
        "../scripts/evaluate_seed_agreement.py"
