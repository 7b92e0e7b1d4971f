"""
Tables: the paper's, each with this run's numbers, the paper's, and the differences.

IN   <results>/score_benchmark/{model}/{benchmark}.json    scores of the models that a table's rows name
     <results>/build_dataset/{dataset}/                    rows of their datasets
     <timings>/                                            hours of their jobs
OUT  <results>/build_table/{table}.json, .md               one table
"""

import json

from selfcodealign.config.tables import cells


wildcard_constraints:
    table=r"[a-z0-9_]+",


def files_of_cell(cell, wins):
    """Files that a cell's number is read from; `wins` are the models that EvalPerf's wins are counted against."""
    kind, model = cell.source.kind, cell.model
    if kind == "score":
        return [f"results/score_benchmark/{model}/{name}.json" for name in cell.source.benchmarks]
    if kind == "wins":
        players = [model, *(other for other in wins if other != model)]
        return [f"results/score_benchmark/{player}/{cell.source.benchmarks[0]}.json" for player in players]
    dataset = CONFIG.models[model].dataset
    if kind == "pass_rate":
        return [f"results/build_dataset/{dataset}/sft/train.parquet"]
    if kind == "rows":
        return [f"results/build_dataset/{dataset}.funnel.json"]
    if kind == "finetune_h":
        return [workflow.pathvars.apply(f"<timings>/train_sft/{model}.jsonl")]
    written = [branch for branch in stages_before(dataset) if branch.partition("/")[0] in WRITING_STAGES]
    if kind == "generation_h":
        return [
            workflow.pathvars.apply(f"<timings>/{branch}/{shard}.jsonl")
            for branch in written
            for shard in shards_of(dataset)
        ]
    gathered = next(branch for branch in stages_before(dataset) if branch.startswith("gather_"))
    return files_of(gathered, ".funnel.json", shards_of(dataset))


WRITING_STAGES = ("extract_concepts", "write_instructions", "write_responses")


def planned_cells(wildcards):
    """Every cell that this run fills of a table, with the files that its number is read from."""
    found = cells(CONFIG, wildcards.table)
    wins = list(dict.fromkeys(cell.model for cell in found if cell.source.kind == "wins"))
    parallel = CONFIG.tables[wildcards.table].parallel_jobs
    return [
        {
            "row": cell.row,
            "column": cell.column,
            "model": cell.model,
            "kind": cell.source.kind,
            "metric": cell.source.metric,
            "files": files_of_cell(cell, wins),
            "divide": parallel if cell.source.kind == "generation_h" else 1,
        }
        for cell in found
    ]


def files_of_table(wildcards):
    """Inputs of a table: what its cells are read from, and the models whose jobs were timed."""
    found = []
    for cell in planned_cells(wildcards):
        if cell["kind"] == "pass_rate":
            found += [f"results/build_dataset/{CONFIG.models[cell['model']].dataset}"]
        elif cell["kind"] in ("generation_h", "finetune_h"):
            found += [f"results/train_sft/{cell['model']}"]
        else:
            found += cell["files"]
    return list(dict.fromkeys(found))


rule build_table:
    """Fill one of the paper's tables with this run's numbers."""
    input:
        script=script("build_table"),
        implicit=files_of_table,
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
        cells=lambda wildcards: json.dumps(planned_cells(wildcards)),
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
