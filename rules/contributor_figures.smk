# Pictures of who made the model what it is.


rule plot_contributions:
    input:
        "<game>/tables/contributions.csv",
    output:
        figure(
            "contributions",
            "contributions",
            "Contributors",
            figure="shares",
            game="{game}",
        ),
    log:
        "<logs>/plot_contributions/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_contributions", "looks"),
    script:
        "../scripts/plot_contributions.py"


rule plot_member_agreement:
    input:
        unpack(lambda w: contributors[w.game].records),
        agreement="<game>/tables/agreement.csv",
    output:
        figure(
            "agreement",
            "member_agreement",
            "Contributors",
            figure="members against retrained ones",
            game="{game}",
        ),
    log:
        "<logs>/plot_member_agreement/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        seed=lambda w: games[w.game].settings["seed"],
        figures=tables.figure_settings(),
        code=code("plot_member_agreement", "looks"),
    script:
        "../scripts/plot_member_agreement.py"


rule plot_contributor_lds:
    input:
        "<game>/tables/contributor_lds.csv",
    output:
        figure(
            "contributor_lds",
            "contributor_lds",
            "Contributors",
            figure="LDS over compute",
            game="{game}",
        ),
    log:
        "<logs>/plot_contributor_lds/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_contributor_lds", "looks"),
    script:
        "../scripts/plot_contributor_lds.py"


rule plot_exact:
    input:
        "<game>/tables/exact.csv",
    output:
        figure(
            "exact",
            "exact",
            "Contributors",
            figure="against exact values",
            game="{game}",
        ),
    log:
        "<logs>/plot_exact/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_exact", "looks"),
    script:
        "../scripts/plot_exact.py"


rule plot_deletion:
    input:
        "<game>/tables/deletion.csv",
    output:
        figure(
            "deletion",
            "deletion",
            "Contributors",
            figure="removal and keep-only",
            game="{game}",
        ),
    log:
        "<logs>/plot_deletion/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_deletion", "looks"),
    script:
        "../scripts/plot_deletion.py"


rule plot_without_top:
    input:
        contributions="<game>/tables/contributions.csv",
        coalitions="<game>/coalitions.parquet",
        images=lambda w: contributors[w.game].images,
    output:
        figure(
            "without_top",
            "without_top",
            "Contributors",
            figure="without the top contributor",
            game="{game}",
        ),
    log:
        "<logs>/plot_without_top/{game}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        behaviour=lambda w: games[w.game].settings["behaviours"][0],
        figures=tables.figure_settings(),
        code=code("plot_without_top", "looks"),
    script:
        "../scripts/plot_without_top.py"


rule contributor_page:
    input:
        contributions="<game>/tables/contributions.csv",
        players="<game>/players.json",
        samples=lambda w: games[w.game].model.dataset.train,
    output:
        report(
            "<game>/contributors.html",
            caption="../report/contributor_page.rst",
            category="Contributors",
            labels={"game": "{game}", "page": "contributors"},
        ),
    log:
        "<logs>/contributor_page/{game}.log",
    benchmark:
        "<benchmarks>/contributor_page/{game}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        behaviours=lambda w: games[w.game].settings["behaviours"],
        code=code("contributor_page", "contributors"),
    script:
        "../scripts/contributor_page.py"
