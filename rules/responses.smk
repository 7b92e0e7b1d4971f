"""
Responses: n answers to each task, each with tests of its own (I→R).

IN   <results>/write_instructions/{generation}/{shard}.parquet    tasks
OUT  <results>/write_responses/{generation}/{shard}.parquet       n answers to each task
"""


rule write_responses:
    """Let the model answer each task several times, each answer with its own tests."""
    input:
        script=script("write_responses"),
        instructions=tasks,
        earlier=earlier(tasks),
        prompts=template_of,
        examples=examples_of_generation,
        implicit=writer,
    output:
        rows="<results>/write_responses/{generation}/{shard}.parquet",
        dropped="<results>/write_responses/{generation}/{shard}.dropped.parquet",
        funnel="<results>/write_responses/{generation}/{shard}.funnel.json",
    log:
        "<logs>/write_responses/{generation}/{shard}.log",
    benchmark:
        "<timings>/write_responses/{generation}/{shard}.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(8_000),
        runtime=720,
    params:
        work="work/write_responses/{generation}/{shard}",
        model=writer_model,
        revision=writer_revision,
        trust_remote_code=writer_trust,
        run_seed=generation_seed,
        mode=CONFIG.mode,
        engine=engine,
        flags=flags(
            "write_responses",
            lambda wildcards: CONFIG.generations[wildcards.generation].responses,
        ),
    message:
        "Writing responses for shard {wildcards.shard} of {wildcards.generation}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --instructions {input.instructions:q} \
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
