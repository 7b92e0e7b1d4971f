"""
Training: a dataset in, a fine-tuned model out.

IN   results/build_dataset/{dataset}/               rows, as published
     files or Hub ids of `other_datasets`           rows of others, for models to compare with
OUT  results/import_dataset/{dataset}/              those rows, as training reads them
     results/train_sft/{model}/                     safetensors, tokenizer, chat template, generation config, model card
     results/train_sft/{model}.metrics.jsonl        loss, learning rate and tokens of every step
     results/train_sft/{model}.example.json         one row as the model sees it, with its loss mask
     results/train_sft/{model}.funnel.json          how many rows were kept, cut and dropped
WORK work/train_sft/{model}/                        checkpoints and TensorBoard events; survives a kill
"""


rule import_dataset:
    """Read an instruction dataset of others, for models to compare with."""
    input:
        script=script("import_dataset"),
        implicit=given_files,
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
        flags=given_flags,
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
        dataset=training_dataset,
        base=local_base,
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
        around(CONFIG.train_sft.nodes)
    threads: trained_with("processes")
    resources:
        mem_mb=by_attempt(16_000),
        runtime=720,
        nodes=CONFIG.train_sft.nodes,
        tasks=CONFIG.train_sft.nodes,
        tasks_per_gpu=0,
    params:
        work=lambda wildcards: f"work/train_sft/{wildcards.model}",
        mode=CONFIG.mode,
        base=trained_base,
        revision=trained_revision,
        trust_remote_code=lambda _: str(CONFIG.model.trust_remote_code).lower(),
        seed=training_seed,
        container=inside(CONFIG.train_sft.nodes),
        flags=flags("train_sft", training_settings),
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
            --seed {params.seed} \
            --container={params.container:q} \
            {params.flags}
        """


rule train_dpo:
    """Train a fine-tuned model to prefer responses that pass their tests."""
    input:
        script=script("train_dpo"),
        pairs=lambda wildcards: (f"results/build_preferences/{CONFIG.models[wildcards.model].dataset}.pairs.parquet"),
        base="<results>/train_sft/{model}",
    output:
        model=directory("<results>/train_dpo/{model}"),
        metrics="<results>/train_dpo/{model}.metrics.jsonl",
    log:
        "<logs>/train_dpo/{model}.log",
    benchmark:
        "<timings>/train_dpo/{model}.jsonl"
    container:
        around(CONFIG.train_dpo.nodes)
    threads: lookup(dpath="train_dpo/processes", within=config)
    resources:
        mem_mb=by_attempt(16_000),
        runtime=720,
        nodes=CONFIG.train_dpo.nodes,
        tasks=CONFIG.train_dpo.nodes,
        tasks_per_gpu=0,
    params:
        work=lambda wildcards: f"work/train_dpo/{wildcards.model}",
        seed=training_seed,
        container=inside(CONFIG.train_dpo.nodes),
        flags=flags("train_dpo"),
    message:
        "Training model {wildcards.model} on preference pairs"
    shell:
        r"""
        exec &> >(tee {log:q})

        python {input.script:q} \
            --pairs {input.pairs:q} \
            --base {input.base:q} \
            --model {output.model:q} \
            --metrics {output.metrics:q} \
            --work {params.work:q} \
            --seed {params.seed} \
            --container={params.container:q} \
            {params.flags}
        """
