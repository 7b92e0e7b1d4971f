"""
Cluster: what a run needs around its jobs: checks before the first one, and everything fetched once.

IN   the config
OUT  <results>/prefetch/fetched.json    the models and raw shards that lie in the Hub's cache; compute nodes may be offline
"""

from selfcodealign import preflight


def check_before_start():
    """Stop now for what would stop the run hours later; a dry run is not stopped."""
    jobs = list(workflow.dag.needrun_jobs())
    try:
        if IN_CONTAINERS:
            used = {job.container_img_url for job in jobs}
            images.check(
                {island: name for island, name in CONFIG.containers.items() if image(island) in used},
                CONFIG.container_digests,
            )
        if workflow.executor_plugin.name == "slurm":
            partitions, with_gpu = {}, set()
            for job in jobs:
                partition = str(job.resources.get("slurm_partition") or "")
                partitions.setdefault(partition, set()).add(job.rule.name)
                if job.resources.get("gpu") or "gpu" in str(job.resources.get("gres", "")):
                    with_gpu.add(partition)
            preflight.check_partitions(partitions, with_gpu)
        else:
            preflight.check_gpu(CONFIG)
        preflight.check_hub(preflight.hub_models(CONFIG, RESULTS), Path(HUB_HOME))
    except UserError as error:
        raise WorkflowError(str(error))


# Where Snakemake itself runs: on a login node, the only one with internet.
localrules:
    prefetch,


rule prefetch:
    """Fetch models, raw shards and benchmarks from the Hub; no other rule asks for it."""
    input:
        script=script("prefetch"),
        decided_by=decided_by("prefetch"),
        implicit=collect("<results>/fetch_benchmark/{name}.gz", name=CONFIG.benchmarks),
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
