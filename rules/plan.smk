# What a config will cost, before anything runs.

import time


rule plan:
    output:
        table="<results>/plan.csv",
        costs="<results>/plan_costs.csv",
        games="<results>/plan_games.csv",
    log:
        "<logs>/plan/plan.log",
    benchmark:
        "<benchmarks>/plan/plan.tsv"
    conda:
        "../envs/dmin.yaml"
    params:
        runs=lambda w: [dmin.plan_entry(tables, run) for run in runs.values()],
        games=lambda w: [dmin.game_plan(tables, game) for game in games.values()],
        architectures=str(ROOT / "resources" / "architectures"),
        measured=str(ROOT / "benchmarks" / "results" / "gradients.csv"),
        # A plan is a question, which is answered each time it is asked.
        asked=lambda w: time.time(),
        code=code("plan"),
    script:
        "../scripts/plan.py"
