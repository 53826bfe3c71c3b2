# What abstaining buys, where lists say how sure they are.


rule evaluate_risk_coverage:
    input:
        unpack(lambda w: runs[w.run].risk_inputs),
    output:
        report(
            "<run>/tables/risk_coverage.csv",
            caption="../report/risk_coverage_table.rst",
            category="Tables",
            labels={"run": "{run}", "table": "risk and coverage"},
        ),
    log:
        "<logs>/evaluate_risk_coverage/{run}.log",
    benchmark:
        "<benchmarks>/evaluate_risk_coverage/{run}.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        methods=lambda w: [list(pair) for pair in runs[w.run].held_out.judged],
        settings=lambda w: runs[w.run].risk_settings,
        code=code("evaluate_risk_coverage"),
    script:
        "../scripts/evaluate_risk_coverage.py"


rule plot_risk_coverage:
    input:
        "<run>/tables/risk_coverage.csv",
    output:
        figure(
            "risk_coverage",
            "risk_coverage",
            "Comparison",
            figure="risk and coverage",
            run="{run}",
        ),
    log:
        "<logs>/plot_risk_coverage/{run}.log",
    conda:
        "../envs/dmin.yaml"
    params:
        figures=tables.figure_settings(),
        code=code("plot_risk_coverage", "looks"),
    script:
        "../scripts/plot_risk_coverage.py"
