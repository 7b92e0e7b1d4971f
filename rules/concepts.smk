"""
Concepts: what each seed has to teach, in a few words (S→C).

IN   <results>/gather_seeds/{shard}.parquet                     seeds
OUT  <results>/extract_concepts/{generation}/{shard}.parquet    a list of concepts for each seed
     <results>/fetch_reference_prompts/                         the paper's examples file, where a config names it
"""


def written(part):
    """Params function: a part of what a generation's writer is: folder or Hub id, revision, trust in its own code."""
    return lambda wildcards: PLAN.writer(wildcards.generation)[part]


def writer_files(wildcards):
    """What a generation's writer is, as inputs."""
    return PLAN.model_files(PLAN.writer(wildcards.generation)[0])


def generation_seed(wildcards):
    """Run seed of a generation."""
    seed = CONFIG.generations[wildcards.generation].seed
    return CONFIG.seed if seed is None else seed


def examples_of_generation(wildcards):
    """Examples file of a generation's prompts."""
    return examples_of(PLAN.template(wildcards.generation), CONFIG.prompts.examples)


def engine(wildcards):
    """How a generation's model is run: the global settings, and what differs for it."""
    return pairs(config["engine"] | CONFIG.generations[wildcards.generation].engine)


def earlier(files):
    """Input function: what `files` names for the seed shards before this one, of which mode `reference` counts lines."""
    return lambda wildcards: [files(wildcards.generation, shard) for shard in PLAN.earlier(wildcards.shard)]


rule extract_concepts:
    """Let the model read the programming concepts off each seed."""
    input:
        script=script("extract_concepts"),
        decided_by=decided_by("extract_concepts"),
        seeds=of(PLAN.seeds, "generation", "shard"),
        earlier=earlier(PLAN.seeds),
        prompts=of(PLAN.template, "generation"),
        examples=examples_of_generation,
        implicit=writer_files,
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
    params:
        work="work/extract_concepts/{generation}/{shard}",
        model=written(0),
        revision=written(1),
        trust_remote_code=written(2),
        run_seed=generation_seed,
        mode=CONFIG.mode,
        engine=engine,
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
