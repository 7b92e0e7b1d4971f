"""
Tables: the paper's, each with this run's numbers, the paper's, and the differences.

IN   <results>/score_benchmark/{model}/{benchmark}.json    scores of the models that a table's rows name
     <results>/build_dataset/{dataset}/                    rows of their datasets
     <timings>/                                            hours of their jobs
OUT  <results>/build_table/{table}.json, .md               one table
"""

import json

from selfcodealign.planned_tables import PlannedTables

TABLES = PlannedTables(PLAN)


wildcard_constraints:
    table=r"[a-z0-9_]+",


rule build_table:
    """Fill one of the paper's tables with this run's numbers."""
    input:
        script=script("build_table"),
        decided_by=decided_by("build_table"),
        implicit=of(TABLES.inputs, "table"),
    output:
        numbers="<results>/build_table/{table}.json",
        page=report(
            "<results>/build_table/{table}.md",
            caption="../report/build_table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "<logs>/build_table/{table}.log",
    benchmark:
        "<timings>/build_table/{table}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=30,
    params:
        cells=lambda wildcards: json.dumps(TABLES.cells(wildcards.table)),
        run_seed=CONFIG.seed,
        demo=str(CONFIG.demo).lower(),
    message:
        "Filling the paper's table {wildcards.table}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --table {wildcards.table} \
            --cells {params.cells:q} \
            --numbers {output.numbers:q} \
            --page {output.page:q} \
            --run-seed {params.run_seed} \
            --demo {params.demo}
        """


rule tables:
    """All tables that the config names."""
    input:
        collect("<results>/build_table/{table}.md", table=CONFIG.tables),
