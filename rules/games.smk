# Games: who the contributors are, and the members trained on coalitions of them.


rule take_players:
    input:
        lambda w: games[w.game].model.dataset.train,
    output:
        "<game>/players.json",
    log:
        "<logs>/take_players/{game}.log",
    benchmark:
        "<benchmarks>/take_players/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        players=lambda w: games[w.game].player_settings,
        code=code("take_players"),
    script:
        "../scripts/take_players.py"


rule keep_samples:
    input:
        coalitions=lambda w: games[w.game].coalitions_of(w.part, w.range),
        players="<game>/players.json",
    output:
        samples="<game>/sets/{part}/{range}.parquet",
        record="<game>/sets/{part}/{range}.json",
    log:
        "<logs>/keep_samples/{game}/{part}/{range}.log",
    benchmark:
        "<benchmarks>/keep_samples/{game}/{part}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        span=lambda w: games[w.game].span(w.part, w.range),
        code=code("keep_samples"),
    script:
        "../scripts/keep_samples.py"


rule prune_model:
    input:
        samples=lambda w: games[w.game].model.samples,
        weights=lambda w: games[w.game].model.weights,
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        weights=directory("<results>/games/{game}/pruned/pipeline"),
        description="<results>/games/{game}/pruned/model.json",
        curve="<results>/games/{game}/pruned/training.csv",
        record="<results>/games/{game}/pruned/pruning.json",
        metrics="<results>/games/{game}/pruned/pruning.metrics.json",
    log:
        "<logs>/prune_model/{game}.log",
    benchmark:
        "<benchmarks>/prune_model/{game}.tsv"
    wildcard_constraints:
        game=tables.games_of("full"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base, copies=6),
        save_every=compute["save_every"],
    params:
        model=lambda w: games[w.game].pruned_training,
        base=lambda w: games[w.game].model.base.settings,
        ratio=lambda w: games[w.game].settings["pruning"]["ratio"],
        base_contents=contents.base,
        code=code("prune_model", "family"),
    script:
        "../scripts/prune_model.py"


rule prune_adapter:
    input:
        samples=lambda w: games[w.game].model.samples,
        weights=lambda w: games[w.game].model.weights,
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        weights="<results>/games/{game}/pruned/pytorch_lora_weights.safetensors",
        description="<results>/games/{game}/pruned/model.json",
        curve="<results>/games/{game}/pruned/training.csv",
        record="<results>/games/{game}/pruned/pruning.json",
        metrics="<results>/games/{game}/pruned/pruning.metrics.json",
    log:
        "<logs>/prune_adapter/{game}.log",
    benchmark:
        "<benchmarks>/prune_adapter/{game}.tsv"
    wildcard_constraints:
        game=tables.games_of("adapter"),
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base, copies=6),
        save_every=compute["save_every"],
    params:
        model=lambda w: games[w.game].pruned_training,
        base=lambda w: games[w.game].model.base.settings,
        ratio=lambda w: games[w.game].settings["pruning"]["ratio"],
        base_contents=contents.base,
        code=code("prune_model", "family"),
    script:
        "../scripts/prune_model.py"


rule unlearn:
    input:
        unpack(lambda w: games[w.game].start(w.trainer)),
        samples=lambda w: games[w.game].model.samples,
        sets="<game>/sets/{part}/{range}.parquet",
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        models=directory("<game>/members/{trainer}/{part}/models/{range}"),
        metrics="<game>/members/{trainer}/{part}/models/{range}.metrics.json",
    log:
        "<logs>/unlearn/{game}/{trainer}/{part}/{range}.log",
    benchmark:
        "<benchmarks>/unlearn/{game}/{trainer}/{part}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base, copies=5),
        save_every=compute["save_every"],
    params:
        model=lambda w: games[w.game].tuning(w.trainer),
        base=lambda w: games[w.game].model.base.settings,
        bank=lambda w: games[w.game].bank_settings(w.trainer, w.part, w.range),
        base_contents=contents.base,
        code=code("unlearn", "family"),
    script:
        "../scripts/unlearn.py"


rule generate_members:
    input:
        models="<game>/members/{trainer}/{part}/models/{range}",
        test=lambda w: games[w.game].model.dataset.test,
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        "<game>/members/{trainer}/{part}/images/{range}.parquet",
    log:
        "<logs>/generate_members/{game}/{trainer}/{part}/{range}.log",
    benchmark:
        "<benchmarks>/generate_members/{game}/{trainer}/{part}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base),
        batch=compute["sample_batch"],
    params:
        base=lambda w: games[w.game].model.base.settings,
        finetune=lambda w: games[w.game].model.settings["finetune"],
        bank=lambda w: games[w.game].read_settings(w.trainer, w.part, w.range),
        images=lambda w: measures[w.game].image_settings,
        base_contents=contents.base,
        code=code("generate_members", "family"),
    script:
        "../scripts/generate_members.py"


rule generate_anchor:
    input:
        weights=lambda w: measures[w.game].anchor_weights(w.anchor),
        test=lambda w: games[w.game].model.dataset.test,
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        "<game>/anchors/images/{anchor}.parquet",
    log:
        "<logs>/generate_anchor/{game}/{anchor}.log",
    benchmark:
        "<benchmarks>/generate_anchor/{game}/{anchor}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base),
        batch=compute["sample_batch"],
    params:
        base=lambda w: games[w.game].model.base.settings,
        repeat=lambda w: measures[w.game].repeat(w.anchor),
        images=lambda w: measures[w.game].image_settings,
        base_contents=contents.base,
        code=code("generate_anchor", "family"),
    script:
        "../scripts/generate_anchor.py"
