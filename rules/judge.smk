"""
The judge: functions whose docstring says what they do become seeds, gathered in shards of equal size.

IN   <results>/decontaminate_seeds/{shard}.parquet    filtered functions, one file per source shard
OUT  <results>/judge_seeds/{shard}.parquet            functions that the model judged well documented
     <results>/gather_seeds/{shard}.parquet           all of them, ordered by id, in seed shards
     <results>/gather_snippets/{shard}.parquet        random snippets in place of functions (an ablation)
"""


rule judge_seeds:
    """Let a model judge whether each docstring says what its function does."""
    input:
        script=script("judge_seeds"),
        seeds=clean_seeds,
        prompts=lookup(dpath="judge_seeds/prompts", within=config),
        examples=examples_of(CONFIG.judge_seeds.prompts, CONFIG.judge_seeds.examples),
        earlier=earlier(clean_seeds, SHARDS),
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
    params:
        work="work/judge_seeds/{shard}",
        model=CONFIG.judge_seeds.model or CONFIG.model.base,
        revision=((CONFIG.judge_seeds.revision or "main") if CONFIG.judge_seeds.model else CONFIG.model.revision),
        trust_remote_code=not CONFIG.judge_seeds.model and CONFIG.model.trust_remote_code,
        mode=CONFIG.mode,
        threshold=CONFIG.judge_seeds.threshold,
        reference_seed=CONFIG.judge_seeds.reference_seed,
        engine=pairs(config["engine"]),
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
            --threshold {params.threshold} \
            --reference-seed {params.reference_seed} \
            --engine {params.engine}
        """


rule gather_seeds:
    """Put the seeds of all shards in one order and cut them into shards of equal size."""
    input:
        script=script("gather_seeds"),
        seeds=collect("<results>/judge_seeds/{shard}.parquet", shard=SHARDS),
    output:
        rows=collect("<results>/gather_seeds/{shard}.parquet", shard=SEED_SHARDS),
        dropped=collect("<results>/gather_seeds/{shard}.dropped.parquet", shard=SEED_SHARDS),
        funnel=collect("<results>/gather_seeds/{shard}.funnel.json", shard=SEED_SHARDS),
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
        seeds=collect("<results>/sample_snippets/{shard}.parquet", shard=SHARDS),
    output:
        rows=collect("<results>/gather_snippets/{shard}.parquet", shard=SEED_SHARDS),
        dropped=collect("<results>/gather_snippets/{shard}.dropped.parquet", shard=SEED_SHARDS),
        funnel=collect("<results>/gather_snippets/{shard}.funnel.json", shard=SEED_SHARDS),
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
        shards=CONFIG.gather_seeds.shards,
        limit=CONFIG.gather_seeds.limit or 10**9,
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
            --shards {params.shards} \
            --limit {params.limit}
        """
