"""
Training: datasets in, a trained model out. The objective of a model decides which rule trains it.

IN   <results>/build_dataset/{dataset}/               rows, as published
     <results>/build_preferences/{dataset}.pairs.parquet   pairs of a passing and a failing response
     <results>/build_preferences/{dataset}.tasks.parquet   tasks with tests
     files or Hub ids of `other_datasets`           rows of others, for models to compare with
     folder, Hub id or another model                what a training starts from
OUT  <results>/import_dataset/{dataset}/              those rows, as training reads them
     <results>/train_sft/{model}/                     safetensors, tokenizer, chat template, generation config, model card
     <results>/train_sft/{model}.metrics.jsonl        loss, learning rate and tokens of every step
     <results>/train_sft/{model}.example.json         one row as the model sees it, with its loss mask
     <results>/train_sft/{model}.funnel.json          how many rows were kept, cut and dropped
     <results>/train_dpo/{model}                      the same of a model that learned from pairs, but for the example
     <results>/train_grpo/{model}                     the same of a model that learned to pass tests, but for the example
WORK work/train_sft/{model}/                        checkpoints and TensorBoard events; survives a kill
"""

from selfcodealign.config.execution import RunResponses

# srun is a program of the host. A job on one node runs in its container as every other; one on several runs outside, and
# srun enters the container on each node.
TRAINED_IN = {
    nodes: image("train") if nodes == 1 else None
    for nodes in (CONFIG.train_sft.nodes, CONFIG.train_dpo.nodes, CONFIG.train_grpo.nodes)
}
ENTERED = {
    nodes: (
        images.entered(image("train"), workflow.deployment_settings.apptainer_args)
        if IN_CONTAINERS and nodes > 1
        else ""
    )
    for nodes in TRAINED_IN
}


rule import_dataset:
    """Read an instruction dataset of others, for models to compare with."""
    input:
        script=script("import_dataset"),
        decided_by=decided_by("import_dataset"),
        implicit=of(PLAN.given_files, "dataset"),
    output:
        folder=directory("<results>/import_dataset/{dataset}"),
        dropped="<results>/import_dataset/{dataset}.dropped.parquet",
        funnel="<results>/import_dataset/{dataset}.funnel.json",
    log:
        "<logs>/import_dataset/{dataset}.log",
    benchmark:
        "<timings>/import_dataset/{dataset}.jsonl"
    container:
        image("train")
    threads: 1
    resources:
        mem_mb=by_attempt(4_000),
        runtime=60,
    params:
        name=lambda wildcards: wildcards.dataset,
        run_seed=CONFIG.seed,
        flags=lambda wildcards: written_flags(config["other_datasets"][wildcards.dataset]),
    message:
        "Reading dataset {wildcards.dataset}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --folder {output.folder:q} \
            --dropped {output.dropped:q} \
            --funnel {output.funnel:q} \
            --name {params.name:q} \
            --run-seed {params.run_seed} \
            {params.flags}
        """


rule train_sft:
    """Fine-tune a base model on a dataset with DeepSpeed."""
    input:
        script=script("train_sft"),
        decided_by=decided_by("train_sft"),
        dataset=of(PLAN.models.datasets, "model"),
        implicit=of(PLAN.models.files_of_start, "model"),
    output:
        model=directory("<results>/train_sft/{model}"),
        metrics="<results>/train_sft/{model}.metrics.jsonl",
        example="<results>/train_sft/{model}.example.json",
        funnel="<results>/train_sft/{model}.funnel.json",
    log:
        "<logs>/train_sft/{model}.log",
    benchmark:
        "<timings>/train_sft/{model}.jsonl"
    container:
        TRAINED_IN[CONFIG.train_sft.nodes]
    threads: lambda wildcards: PLAN.models.threads(wildcards.model)
    resources:
        mem_mb=by_attempt(16_000),
        runtime=720,
        nodes=CONFIG.train_sft.nodes,
        tasks=CONFIG.train_sft.nodes,
        tasks_per_gpu=0,
    params:
        work=lambda wildcards: f"work/train_sft/{wildcards.model}",
        mode=CONFIG.mode,
        base=of(PLAN.models.start, "model", part=0),
        revision=of(PLAN.models.start, "model", part=1),
        trust_remote_code=lambda _: str(CONFIG.model.trust_remote_code).lower(),
        weights=of(PLAN.models.weights, "model"),
        run_seed=lambda wildcards: PLAN.models.seed(wildcards.model),
        container=ENTERED[CONFIG.train_sft.nodes],
        flags=flags("train_sft", lambda wildcards: CONFIG.models[wildcards.model].settings),
    message:
        "Fine-tuning model {wildcards.model}"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --dataset {input.dataset:q} \
            --model {output.model:q} \
            --metrics {output.metrics:q} \
            --example {output.example:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --mode {params.mode} \
            --base {params.base:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --weights {params.weights} \
            --run-seed {params.run_seed} \
            --container={params.container:q} \
            {params.flags}
        """


rule train_dpo:
    """Train a model to prefer responses that pass their tests."""
    input:
        script=script("train_dpo"),
        decided_by=decided_by("train_dpo"),
        pairs=of(PLAN.models.pairs, "model"),
        implicit=of(PLAN.models.files_of_start, "model"),
    output:
        model=directory("<results>/train_dpo/{model}"),
        metrics="<results>/train_dpo/{model}.metrics.jsonl",
        funnel="<results>/train_dpo/{model}.funnel.json",
    log:
        "<logs>/train_dpo/{model}.log",
    benchmark:
        "<timings>/train_dpo/{model}.jsonl"
    container:
        TRAINED_IN[CONFIG.train_dpo.nodes]
    threads: lambda wildcards: PLAN.models.threads(wildcards.model)
    resources:
        mem_mb=by_attempt(16_000),
        runtime=720,
        nodes=CONFIG.train_dpo.nodes,
        tasks=CONFIG.train_dpo.nodes,
        tasks_per_gpu=0,
    params:
        work=lambda wildcards: f"work/train_dpo/{wildcards.model}",
        base=of(PLAN.models.start, "model", part=0),
        revision=of(PLAN.models.start, "model", part=1),
        trust_remote_code=lambda _: str(CONFIG.model.trust_remote_code).lower(),
        weights=of(PLAN.models.weights, "model"),
        run_seed=lambda wildcards: PLAN.models.seed(wildcards.model),
        container=ENTERED[CONFIG.train_dpo.nodes],
        flags=flags("train_dpo", lambda wildcards: CONFIG.models[wildcards.model].settings),
    message:
        "Training model {wildcards.model} on preference pairs"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --pairs {input.pairs:q} \
            --model {output.model:q} \
            --metrics {output.metrics:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --base {params.base:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --weights {params.weights} \
            --run-seed {params.run_seed} \
            --container={params.container:q} \
            {params.flags}
        """


rule train_grpo:
    """Train a model on tasks with tests, with the sandbox's verdicts as reward."""
    input:
        script=script("train_grpo"),
        decided_by=decided_by("train_grpo"),
        tasks=of(PLAN.models.tasks, "model"),
        implicit=of(PLAN.models.files_of_start, "model"),
    output:
        model=directory("<results>/train_grpo/{model}"),
        metrics="<results>/train_grpo/{model}.metrics.jsonl",
        funnel="<results>/train_grpo/{model}.funnel.json",
    log:
        "<logs>/train_grpo/{model}.log",
    benchmark:
        "<timings>/train_grpo/{model}.jsonl"
    container:
        TRAINED_IN[CONFIG.train_grpo.nodes]
    threads: lambda wildcards: PLAN.models.threads(wildcards.model)
    resources:
        mem_mb=by_attempt(16_000),
        runtime=720,
        nodes=CONFIG.train_grpo.nodes,
        tasks=CONFIG.train_grpo.nodes,
        tasks_per_gpu=0,
    params:
        work=lambda wildcards: f"work/train_grpo/{wildcards.model}",
        base=of(PLAN.models.start, "model", part=0),
        revision=of(PLAN.models.start, "model", part=1),
        trust_remote_code=lambda _: str(CONFIG.model.trust_remote_code).lower(),
        weights=of(PLAN.models.weights, "model"),
        run_seed=lambda wildcards: PLAN.models.seed(wildcards.model),
        container=ENTERED[CONFIG.train_grpo.nodes],
        sandbox=flags("verify_responses", kind=RunResponses),
        flags=flags("train_grpo", lambda wildcards: CONFIG.models[wildcards.model].settings),
    message:
        "Training model {wildcards.model} on the sandbox's verdicts"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --tasks {input.tasks:q} \
            --model {output.model:q} \
            --metrics {output.metrics:q} \
            --funnel {output.funnel:q} \
            --work {params.work:q} \
            --base {params.base:q} \
            --revision {params.revision:q} \
            --trust-remote-code {params.trust_remote_code} \
            --weights {params.weights} \
            --run-seed {params.run_seed} \
            --container={params.container:q} \
            {params.sandbox} \
            {params.flags}
        """
