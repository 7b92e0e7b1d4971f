"""
Concepts: what each seed has to teach, in a few words (S→C).

IN   <results>/gather_seeds/{shard}.parquet                     seeds
OUT  <results>/extract_concepts/{generation}/{shard}.parquet    a list of concepts for each seed
     <results>/fetch_reference_prompts/                         the paper's examples file, where a config names it
"""


rule extract_concepts:
    """Let the model read the programming concepts off each seed."""
    input:
        script=script("extract_concepts"),
        decided_by=decided_by("extract_concepts"),
        seeds=of(PLAN.seeds, "generation", "shard"),
        earlier=lambda wildcards: [PLAN.seeds(wildcards.generation, one) for one in PLAN.earlier(wildcards.shard)],
        prompts=of(PLAN.template, "generation"),
        examples=of(PLAN.examples, "generation"),
        implicit=of(PLAN.writer_files, "generation"),
    output:
        rows="<results>/extract_concepts/{generation}/{shard}.parquet",
        dropped="<results>/extract_concepts/{generation}/{shard}.dropped.parquet",
        funnel="<results>/extract_concepts/{generation}/{shard}.funnel.json",
    log:
        "<logs>/extract_concepts/{generation}/{shard}.log",
    benchmark:
        "<timings>/extract_concepts/{generation}/{shard}.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=720,
        tasks_per_gpu=0,
    params:
        work="work/extract_concepts/{generation}/{shard}",
        model=of(PLAN.writer, "generation", part=0),
        revision=of(PLAN.writer, "generation", part=1),
        trust_remote_code=of(PLAN.writer, "generation", part=2),
        run_seed=lambda wildcards: PLAN.generation_seed(wildcards.generation),
        mode=CONFIG.mode,
        engine=lambda wildcards: pairs(PLAN.engine(wildcards.generation)),
        flags=flags("extract_concepts"),
    message:
        "Reading concepts off shard {wildcards.shard} of {wildcards.generation}"
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
            --run-seed {params.run_seed} \
            --mode {params.mode} \
            --earlier {input.earlier:q} \
            --engine {params.engine} \
            {params.flags}
        """


rule fetch_reference_prompts:
    """Fetch the paper's own examples file, for configs that name it in prompts.examples."""
    input:
        script=script("fetch_reference_prompts"),
        decided_by=decided_by("fetch_reference_prompts"),
    output:
        prompts="<results>/fetch_reference_prompts/self-ossinstruct-fewshot.txt",
    log:
        "<logs>/fetch_reference_prompts.log",
    benchmark:
        "<timings>/fetch_reference_prompts.jsonl"
    container:
        image("data")
    threads: 1
    resources:
        mem_mb=by_attempt(500),
        runtime=10,
    message:
        "Fetching the paper's examples file"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --prompts {output.prompts:q}
        """
