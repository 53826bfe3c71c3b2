# Who made the model what it is: coalitions, contributions, and how far to trust them.


rule draw_coalitions:
    input:
        "<game>/players.json",
    output:
        "<game>/coalitions.parquet",
    log:
        "<logs>/draw_coalitions/{game}.log",
    benchmark:
        "<benchmarks>/draw_coalitions/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        drawn=lambda w: games[w.game].drawn,
        seed=lambda w: games[w.game].settings["seed"],
        code=code("draw_coalitions"),
    script:
        "../scripts/draw_coalitions.py"


rule draw_members:
    # A table of its own for every range: more coalitions change nothing for the members that are there.
    input:
        "<game>/players.json",
    output:
        "<game>/coalitions/{part}/{range}.parquet",
    log:
        "<logs>/draw_members/{game}/{part}/{range}.log",
    benchmark:
        "<benchmarks>/draw_members/{game}/{part}/{range}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        drawn=lambda w: games[w.game].drawn_at(w.part, w.range),
        seed=lambda w: games[w.game].settings["seed"],
        code=code("draw_coalitions"),
    script:
        "../scripts/draw_coalitions.py"


rule fit_contributions:
    input:
        unpack(lambda w: contributors[w.game].records),
        scores=lambda w: contributors[w.game].scores(),
        descriptions=lambda w: contributors[w.game].scores("scores.json"),
    output:
        report(
            "<game>/tables/contributions.csv",
            caption="../report/contributions_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "contributions"},
        ),
    log:
        "<logs>/fit_contributions/{game}.log",
    benchmark:
        "<benchmarks>/fit_contributions/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        methods=lambda w: contributors[w.game].methods,
        interval=lambda w: contributors[w.game].interval,
        code=code("fit_contributions", "estimators"),
    script:
        "../scripts/fit_contributions.py"


rule choose_curves:
    input:
        "<game>/tables/contributions.csv",
    output:
        "<game>/curves.parquet",
    log:
        "<logs>/choose_curves/{game}.log",
    benchmark:
        "<benchmarks>/choose_curves/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        curves=lambda w: contributors[w.game].curves,
        code=code("choose_curves"),
    script:
        "../scripts/choose_curves.py"


rule evaluate_member_agreement:
    input:
        unpack(lambda w: contributors[w.game].records),
        cost="<game>/tables/cost.csv",
    output:
        report(
            "<game>/tables/agreement.csv",
            caption="../report/member_agreement_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "agreement with retraining"},
        ),
    log:
        "<logs>/evaluate_member_agreement/{game}.log",
    benchmark:
        "<benchmarks>/evaluate_member_agreement/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        interval=lambda w: contributors[w.game].interval,
        code=code("evaluate_member_agreement", "estimators"),
    script:
        "../scripts/evaluate_member_agreement.py"


rule evaluate_contributor_lds:
    input:
        unpack(lambda w: contributors[w.game].records),
        contributions="<game>/tables/contributions.csv",
        cost="<game>/tables/cost.csv",
    output:
        report(
            "<game>/tables/contributor_lds.csv",
            caption="../report/contributor_lds_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "LDS"},
        ),
    log:
        "<logs>/evaluate_contributor_lds/{game}.log",
    benchmark:
        "<benchmarks>/evaluate_contributor_lds/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        budget=lambda w: games[w.game].settings["budget"],
        interval=lambda w: contributors[w.game].interval,
        code=code("evaluate_contributor_lds", "estimators"),
    script:
        "../scripts/evaluate_contributor_lds.py"


rule evaluate_exact:
    input:
        unpack(lambda w: contributors[w.game].records),
        contributions="<game>/tables/contributions.csv",
    output:
        report(
            "<game>/tables/exact.csv",
            caption="../report/exact_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "exact values"},
        ),
    log:
        "<logs>/evaluate_exact/{game}.log",
    benchmark:
        "<benchmarks>/evaluate_exact/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        interval=lambda w: contributors[w.game].interval,
        code=code("evaluate_exact", "estimators"),
    script:
        "../scripts/evaluate_exact.py"


rule evaluate_deletion:
    input:
        unpack(lambda w: contributors[w.game].records),
        contributions="<game>/tables/contributions.csv",
        curves=lambda w: contributors[w.game].curve_members,
    output:
        report(
            "<game>/tables/deletion.csv",
            caption="../report/deletion_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "removal and keep-only"},
        ),
    log:
        "<logs>/evaluate_deletion/{game}.log",
    benchmark:
        "<benchmarks>/evaluate_deletion/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        curves=lambda w: contributors[w.game].curves,
        interval=lambda w: contributors[w.game].interval,
        code=code("evaluate_deletion"),
    script:
        "../scripts/evaluate_deletion.py"


rule evaluate_models:
    input:
        models="<game>/tables/models.csv",
        cost="<game>/tables/cost.csv",
    output:
        report(
            "<game>/tables/model_table.csv",
            caption="../report/model_table.rst",
            category="Contributors",
            labels={"game": "{game}", "table": "models and their cost"},
        ),
    log:
        "<logs>/evaluate_models/{game}.log",
    benchmark:
        "<benchmarks>/evaluate_models/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        code=code("evaluate_models"),
    script:
        "../scripts/evaluate_models.py"


rule contributors:
    input:
        [game.table(name) for game in games.values() for name in contributors[game.name].tables],
        [file for found in contributors.values() for file in found.figures + found.pages],
