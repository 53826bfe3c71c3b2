# What the members of games do: features of their images, behaviours, and the tables of them.


rule embed_images:
    input:
        images="<game>/{place}/images/{name}.parquet",
        files=ancient(lambda w: measures[w.game].encoder_files),
    output:
        "<game>/{place}/features/{name}.safetensors",
    log:
        "<logs>/embed_images/{game}/{place}/{name}.log",
    benchmark:
        "<benchmarks>/embed_images/{game}/{place}/{name}.tsv"
    wildcard_constraints:
        place=r"anchors|members/[a-z]+/[a-z]+",
        name=r"[a-z0-9-]+",
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        encoder=lambda w: measures[w.game].encoder,
        encoder_contents=contents.game_encoder,
        code=code("embed_images"),
    script:
        "../scripts/embed_images.py"


rule embed_train:
    input:
        images=lambda w: games[w.game].model.dataset.train,
        files=ancient(lambda w: measures[w.game].encoder_files),
    output:
        "<game>/train/features.safetensors",
    log:
        "<logs>/embed_train/{game}.log",
    benchmark:
        "<benchmarks>/embed_train/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        batch=compute["encode_batch"],
    params:
        encoder=lambda w: measures[w.game].encoder,
        encoder_contents=contents.game_encoder,
        code=code("embed_train"),
    script:
        "../scripts/embed_train.py"


rule draw_reference:
    input:
        lambda w: games[w.game].model.dataset.test,
    output:
        "<game>/asked/reference.parquet",
    log:
        "<logs>/draw_reference/{game}.log",
    benchmark:
        "<benchmarks>/draw_reference/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        rows=lambda w: games[w.game].settings["reference"]["rows"],
        seed=lambda w: games[w.game].settings["seed"],
        code=code("draw_reference"),
    script:
        "../scripts/draw_reference.py"


rule take_query:
    input:
        "<game>/anchors/images/full.parquet",
    output:
        "<game>/asked/query.parquet",
    log:
        "<logs>/take_query/{game}.log",
    benchmark:
        "<benchmarks>/take_query/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        number=lambda w: games[w.game].settings["query"],
        code=code("take_query"),
    script:
        "../scripts/take_query.py"


rule encode_asked:
    input:
        samples="<game>/asked/{asked}.parquet",
        base=ancient(lambda w: games[w.game].model.base.files),
    output:
        "<game>/asked/{asked}.safetensors",
    log:
        "<logs>/encode_asked/{game}/{asked}.log",
    benchmark:
        "<benchmarks>/encode_asked/{game}/{asked}.tsv"
    wildcard_constraints:
        asked="reference|query",
    conda:
        "../envs/dmin.yaml"
    threads: compute["threads"]
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base),
        batch=compute["encode_batch"],
    params:
        base=lambda w: games[w.game].model.base.settings,
        base_contents=contents.base,
        code=code("encode_samples", "family"),
    script:
        "../scripts/encode_samples.py"


rule measure_behaviour:
    input:
        unpack(lambda w: measures[w.game].measured(w.behaviour, w.trainer, w.part, w.range)),
        classifier=ancient(lambda w: measures[w.game].classifier_files(w.behaviour)),
        base=ancient(lambda w: measures[w.game].base_files(w.behaviour)),
    output:
        "<game>/members/{trainer}/{part}/values/{behaviour}/{range}.csv",
    log:
        "<logs>/measure_behaviour/{game}/{trainer}/{part}/{behaviour}/{range}.log",
    benchmark:
        "<benchmarks>/measure_behaviour/{game}/{trainer}/{part}/{behaviour}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base),
        batch=compute["gradient_batch"],
    params:
        base=lambda w: games[w.game].model.base.settings,
        finetune=lambda w: games[w.game].model.settings["finetune"],
        bank=lambda w: games[w.game].read_settings(w.trainer, w.part, w.range),
        behaviour=lambda w: measures[w.game].behaviour_settings(w.behaviour),
        base_contents=contents.base,
        classifier_contents=contents.game_classifier,
        code=code("measure_behaviour", "behaviour", "family"),
    script:
        "../scripts/measure_behaviour.py"


rule measure_anchor:
    input:
        unpack(lambda w: measures[w.game].measured_anchor(w.behaviour, w.anchor)),
        classifier=ancient(lambda w: measures[w.game].classifier_files(w.behaviour)),
        base=ancient(lambda w: measures[w.game].base_files(w.behaviour)),
    output:
        "<game>/anchors/values/{behaviour}/{anchor}.csv",
    log:
        "<logs>/measure_anchor/{game}/{behaviour}/{anchor}.log",
    benchmark:
        "<benchmarks>/measure_anchor/{game}/{behaviour}/{anchor}.tsv"
    conda:
        "../envs/dmin.yaml"
    threads: tables.retraining_threads
    resources:
        gpu=tables.gpus,
        device=compute["device"],
        mem_mb=lambda w, attempt: attempt * dmin.model_mb(games[w.game].model.base),
        batch=compute["gradient_batch"],
    params:
        base=lambda w: games[w.game].model.base.settings,
        behaviour=lambda w: measures[w.game].behaviour_settings(w.behaviour, w.anchor),
        base_contents=contents.base,
        classifier_contents=contents.game_classifier,
        code=code("measure_behaviour", "behaviour", "family"),
    script:
        "../scripts/measure_behaviour.py"


rule join_members:
    input:
        coalitions=lambda w: games[w.game].coalitions,
        records=lambda w: games[w.game].records("exact", "fit", "test"),
        values=lambda w: measures[w.game].values("exact", "fit", "test"),
    output:
        "<game>/tables/members.csv",
    log:
        "<logs>/join_members/{game}.log",
    benchmark:
        "<benchmarks>/join_members/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        trainers=lambda w: measures[w.game].trainers_of_values("exact", "fit", "test"),
        code=code("join_members"),
    script:
        "../scripts/join_members.py"


rule join_curve_members:
    input:
        coalitions="<game>/curves.parquet",
        records=lambda w: games[w.game].records("curve"),
        values=lambda w: measures[w.game].values("curve"),
    output:
        "<game>/tables/curve_members.csv",
    log:
        "<logs>/join_curve_members/{game}.log",
    benchmark:
        "<benchmarks>/join_curve_members/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        trainers=lambda w: measures[w.game].trainers_of_values("curve"),
        code=code("join_members"),
    script:
        "../scripts/join_members.py"


rule measure_noise:
    input:
        anchors=lambda w: measures[w.game].noise_values,
        members="<game>/tables/members.csv",
    output:
        "<game>/tables/noise.csv",
    log:
        "<logs>/measure_noise/{game}.log",
    benchmark:
        "<benchmarks>/measure_noise/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("measure_noise"),
    script:
        "../scripts/measure_noise.py"


rule measure_cost:
    input:
        metrics=lambda w: [file for _, file in measures[w.game].metrics],
        pruning=lambda w: games[w.game].pruning_files("pruning.metrics.json", "pruning.json"),
    output:
        "<game>/tables/cost.csv",
    log:
        "<logs>/measure_cost/{game}.log",
    benchmark:
        "<benchmarks>/measure_cost/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        trainers=lambda w: [trainer for trainer, _ in measures[w.game].metrics],
        steps=lambda w: measures[w.game].trained_steps,
        samples=lambda w: measures[w.game].trained_samples,
        code=code("measure_cost"),
    script:
        "../scripts/measure_cost.py"


rule compare_models:
    input:
        unpack(lambda w: measures[w.game].compared),
        train="<game>/train/features.safetensors",
        record=lambda w: games[w.game].pruning_files("pruning.json"),
    output:
        "<game>/tables/models.csv",
    log:
        "<logs>/compare_models/{game}.log",
    benchmark:
        "<benchmarks>/compare_models/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        rows=lambda w: measures[w.game].compared_steps,
        distance=lambda w: measures[w.game].distance,
        code=code("compare_models"),
    script:
        "../scripts/compare_models.py"


rule games:
    input:
        [game.table(name) for game in games.values() for name in measures[game.name].tables],
