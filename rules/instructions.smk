"""
Instructions: a task for each list of concepts (C→I), or for each seed on the direct path (S→I), or tasks of others.

IN   <results>/extract_concepts/{generation}/{shard}.parquet      concepts
OUT  <results>/write_instructions/{generation}/{shard}.parquet    a task for each list of concepts
     <results>/import_tasks/{generation}/{shard}.parquet          given tasks in their place, where a config names some
"""


rule write_instructions:
    """Let the model write a task of a drawn category and difficulty."""
    input:
        script=script("write_instructions"),
        decided_by=decided_by("write_instructions"),
        source=of(PLAN.source, "generation", "shard"),
        earlier=lambda wildcards: [PLAN.source(wildcards.generation, one) for one in PLAN.earlier(wildcards.shard)],
        prompts=of(PLAN.template, "generation"),
        examples=of(PLAN.examples, "generation"),
        implicit=of(PLAN.writer_files, "generation"),
    output:
        rows="<results>/write_instructions/{generation}/{shard}.parquet",
        dropped="<results>/write_instructions/{generation}/{shard}.dropped.parquet",
        funnel="<results>/write_instructions/{generation}/{shard}.funnel.json",
    log:
        "<logs>/write_instructions/{generation}/{shard}.log",
    benchmark:
        "<timings>/write_instructions/{generation}/{shard}.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=720,
        tasks_per_gpu=0,
    params:
        work="work/write_instructions/{generation}/{shard}",
        model=of(PLAN.writer, "generation", part=0),
        revision=of(PLAN.writer, "generation", part=1),
        trust_remote_code=of(PLAN.writer, "generation", part=2),
        run_seed=lambda wildcards: PLAN.generation_seed(wildcards.generation),
        mode=CONFIG.mode,
        path=lambda wildcards: CONFIG.generations[wildcards.generation].path,
        engine=lambda wildcards: pairs(PLAN.engine(wildcards.generation)),
        flags=flags("write_instructions"),
    message:
        "Writing instructions for shard {wildcards.shard} of {wildcards.generation}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --source {input.source:q} \
            --path {params.path} \
            --prompts {input.prompts:q} \
            --examples {input.examples:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --model {params.model:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --run-seed {params.run_seed} \
            --mode {params.mode} \
            --earlier {input.earlier:q} \
            --engine {params.engine} \
            {params.flags}
        """


rule import_tasks:
    """Read tasks of others, which a generation answers in place of written ones."""
    input:
        script=script("import_tasks"),
        decided_by=decided_by("import_tasks"),
        implicit=of(PLAN.task_files, "generation"),
    output:
        rows="<results>/import_tasks/{generation}/{shard}.parquet",
        dropped="<results>/import_tasks/{generation}/{shard}.dropped.parquet",
        funnel="<results>/import_tasks/{generation}/{shard}.funnel.json",
    log:
        "<logs>/import_tasks/{generation}/{shard}.log",
    benchmark:
        "<timings>/import_tasks/{generation}/{shard}.jsonl"
    container:
        image("train")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        name=lambda wildcards: wildcards.generation,
        shard=lambda wildcards: int(wildcards.shard),
        shards=CONFIG.gather_seeds.shards,
        max_words=CONFIG.sanitize_responses.max_words,
        flags=lambda wildcards: written_flags(PLAN.import_settings(wildcards.generation)),
    message:
        "Reading tasks of {wildcards.generation}, shard {wildcards.shard}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --rows {output.rows:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --name {params.name:q} \
            --shard {params.shard} \
            --shards {params.shards} \
            --max-words {params.max_words} \
            {params.flags}
        """
