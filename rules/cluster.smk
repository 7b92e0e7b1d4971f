"""
Cluster: what a run needs around its jobs: checks before the first one, and everything fetched once.

IN   the config
OUT  <results>/prefetch/fetched.json    the models and raw shards that lie in the Hub's cache; compute nodes may be offline
"""


# Where Snakemake itself runs: on a login node, the only one with internet.
localrules:
    prefetch,


rule prefetch:
    """Fetch models, raw shards and benchmarks from the Hub; no other rule asks for it."""
    input:
        script=script("prefetch"),
        decided_by=decided_by("prefetch"),
        implicit=collect("<results>/fetch_benchmark/{name}.gz", name=PLAN.fetched),
    output:
        fetched="<results>/prefetch/fetched.json",
    log:
        "<logs>/prefetch.log",
    benchmark:
        "<timings>/prefetch.jsonl"
    container:
        image("generate")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=1440,
    params:
        models=lambda _: [f"{name}@{revision}" for name, revision in preflight.hub_models(CONFIG, RESULTS).values()],
        shards=[shard for shard in PLAN.raw_shards if shard.startswith("hf://")],
    message:
        "Fetching what the run takes from the Hub"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --models {params.models:q} \
            --shards {params.shards:q} \
            --fetched {output.fetched:q}
        """
