"""
Seeds: functions worth learning from, gathered in seed shards of equal size (paper, appendix B).

IN   <results>/dedup_functions/{shard}.parquet          documented functions, one file per raw shard
     data.seeds                                         or filtered seeds of others: then the judge comes first
OUT  <results>/infer_imports/{shard}.parquet            … whose every name is known, imports added
     <results>/typecheck_functions/{shard}.parquet      … in which pyright finds no error
     <results>/filter_seeds/{shard}.parquet             … worth learning from
     <results>/decontaminate_seeds/{shard}.parquet      … that overlap with no benchmark
     <results>/judge_seeds/{shard}.parquet              … whose docstring suffices, as the model judges
     <results>/gather_seeds/{shard}.parquet             all of them, ordered by id, in seed shards
     <results>/gather_snippets/{shard}.parquet          random snippets in place of functions (an ablation)
Row stages also write .dropped.parquet, with reasons, and .funnel.json.
"""

from selfcodealign.config.generation import Judging


rule infer_imports:
    """Keep functions that return a value and whose every name is known; add the imports they lack."""
    input:
        script=script("infer_imports"),
        decided_by=decided_by("infer_imports"),
        functions=PLAN.rows_before("infer_imports"),
    output:
        seeds="<results>/infer_imports/{shard}.parquet",
        dropped="<results>/infer_imports/{shard}.dropped.parquet",
        funnel="<results>/infer_imports/{shard}.funnel.json",
    log:
        "<logs>/infer_imports/{shard}.log",
    benchmark:
        "<timings>/infer_imports/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    message:
        "Inferring imports of shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --functions {input.functions:q} \
            --seeds {output.seeds:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q}
        """


rule typecheck_functions:
    """Keep functions in which pyright finds no error; batches survive an interruption."""
    input:
        script=script("typecheck_functions"),
        decided_by=decided_by("typecheck_functions"),
        seeds=PLAN.rows_before("typecheck_functions"),
    output:
        kept="<results>/typecheck_functions/{shard}.parquet",
        dropped="<results>/typecheck_functions/{shard}.dropped.parquet",
        funnel="<results>/typecheck_functions/{shard}.funnel.json",
        versions="<results>/typecheck_functions/{shard}.versions.json",
    log:
        "<logs>/typecheck_functions/{shard}.log",
    benchmark:
        "<timings>/typecheck_functions/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(2_500),
        runtime=240,
    params:
        work="work/typecheck_functions/{shard}",
        flags=flags("typecheck_functions"),
    message:
        "Type-checking shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --kept {output.kept:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --versions {output.versions:q} \
            --work {params.work:q} \
            {params.flags}
        """


rule filter_seeds:
    """Keep the functions worth learning from, and say why the others went."""
    input:
        script=script("filter_seeds"),
        decided_by=decided_by("filter_seeds"),
        seeds=PLAN.rows_before("filter_seeds"),
    output:
        kept="<results>/filter_seeds/{shard}.parquet",
        dropped="<results>/filter_seeds/{shard}.dropped.parquet",
        funnel="<results>/filter_seeds/{shard}.funnel.json",
    log:
        "<logs>/filter_seeds/{shard}.log",
    benchmark:
        "<timings>/filter_seeds/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        mode=CONFIG.mode,
        flags=flags("filter_seeds"),
    message:
        "Filtering seeds of shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --kept {output.kept:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --mode {params.mode} \
            {params.flags}
        """


rule decontaminate_seeds:
    """Drop functions that overlap with a benchmark."""
    input:
        script=script("decontaminate_seeds"),
        decided_by=decided_by("decontaminate_seeds"),
        seeds=PLAN.rows_before("decontaminate_seeds"),
        benchmarks=list(PLAN.kept_out.values()),
    output:
        kept="<results>/decontaminate_seeds/{shard}.parquet",
        dropped="<results>/decontaminate_seeds/{shard}.dropped.parquet",
        funnel="<results>/decontaminate_seeds/{shard}.funnel.json",
        overlaps="<results>/decontaminate_seeds/{shard}.overlaps.json",
    log:
        "<logs>/decontaminate_seeds/{shard}.log",
    benchmark:
        "<timings>/decontaminate_seeds/{shard}.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(1_500),
        runtime=60,
    params:
        mode=CONFIG.mode,
        benchmarks=PLAN.compared,
        flags=flags("decontaminate_seeds"),
    message:
        "Comparing seeds of shard {wildcards.shard} with benchmarks"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --kept {output.kept:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --overlaps {output.overlaps:q} \
            --benchmarks {params.benchmarks:q} \
            --mode {params.mode} \
            {params.flags}
        """


rule judge_seeds:
    """Let a model judge whether each docstring says what its function does."""
    input:
        script=script("judge_seeds"),
        decided_by=decided_by("judge_seeds"),
        seeds=of(PLAN.unjudged, "shard"),
        prompts=lookup(dpath="judge_seeds/prompts", within=config),
        examples=examples_of(CONFIG.judge_seeds.prompts, CONFIG.judge_seeds.examples),
        earlier=lambda wildcards: [PLAN.unjudged(one) for one in PLAN.earlier(wildcards.shard, PLAN.shards)],
        implicit=PLAN.models.files(PLAN.judge()[0]),
    output:
        rows="<results>/judge_seeds/{shard}.parquet",
        dropped="<results>/judge_seeds/{shard}.dropped.parquet",
        funnel="<results>/judge_seeds/{shard}.funnel.json",
    log:
        "<logs>/judge_seeds/{shard}.log",
    benchmark:
        "<timings>/judge_seeds/{shard}.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=720,
        tasks_per_gpu=0,
    params:
        work="work/judge_seeds/{shard}",
        model=lambda _: PLAN.judge()[0],
        revision=PLAN.judge()[1],
        trust_remote_code=PLAN.judge()[2],
        mode=CONFIG.mode,
        engine=pairs(PLAN.judges_engine()),
        flags=flags("judge_seeds", kind=Judging),
    message:
        "Judging the docstrings of shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --prompts {input.prompts:q} \
            --examples {input.examples:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --model {params.model:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --mode {params.mode} \
            --earlier {input.earlier:q} \
            --engine {params.engine} \
            {params.flags}
        """


rule gather_seeds:
    """Put the seeds of all shards in one order and cut them into shards of equal size."""
    input:
        script=script("gather_seeds"),
        decided_by=decided_by("gather_seeds"),
        seeds=collect(PLAN.rows_before("gather_seeds"), shard=PLAN.shards),
    output:
        rows=collect("<results>/gather_seeds/{shard}.parquet", shard=PLAN.seed_shards),
        dropped=collect("<results>/gather_seeds/{shard}.dropped.parquet", shard=PLAN.seed_shards),
        funnel=collect("<results>/gather_seeds/{shard}.funnel.json", shard=PLAN.seed_shards),
    log:
        "<logs>/gather_seeds.log",
    benchmark:
        "<timings>/gather_seeds.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        run_seed=CONFIG.seed,
        flags=flags("gather_seeds"),
    message:
        "Gathering the judged functions in seed shards"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --run-seed {params.run_seed} \
            {params.flags}
        """


rule gather_snippets:
    """Put the random snippets of all shards in one order and cut them into shards of equal size."""
    input:
        script=script("gather_snippets"),
        decided_by=decided_by("gather_snippets"),
        seeds=collect(PLAN.rows_before("gather_snippets"), shard=PLAN.shards),
    output:
        rows=collect("<results>/gather_snippets/{shard}.parquet", shard=PLAN.seed_shards),
        dropped=collect("<results>/gather_snippets/{shard}.dropped.parquet", shard=PLAN.seed_shards),
        funnel=collect("<results>/gather_snippets/{shard}.funnel.json", shard=PLAN.seed_shards),
    log:
        "<logs>/gather_snippets.log",
    benchmark:
        "<timings>/gather_snippets.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        run_seed=CONFIG.seed,
        flags=flags("gather_seeds"),
    message:
        "Gathering snippets in seed shards"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --seeds {input.seeds:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --run-seed {params.run_seed} \
            {params.flags}
        """
