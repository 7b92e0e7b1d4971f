"""Self-align a code model: raw source shards in, a fine-tuned model and a benchmark report out."""

import atexit

from snakemake.utils import min_version

min_version("9.25")


# A preset named with --configfile stands alone; it says itself what it extends.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


report: "report/workflow.rst"


pathvars:
    timings="timings",


include: "rules/common.smk"
include: "rules/demo.smk"
include: "rules/functions.smk"
include: "rules/seeds.smk"
include: "rules/concepts.smk"
include: "rules/instructions.smk"
include: "rules/responses.smk"
include: "rules/verify.smk"
include: "rules/dataset.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"
include: "rules/report.smk"
include: "rules/cluster.smk"


onstart:
    try:
        preflight.check_before_start(
            CONFIG,
            RESULTS,
            HUB_HOME,
            jobs=list(workflow.dag.needrun_jobs()),
            executor=workflow.executor_plugin.name,
            in_containers=IN_CONTAINERS,
        )
    except UserError as error:
        raise WorkflowError(str(error))


# Snakemake prints some lines of its own after this; what a person needs comes behind them, at the very end.
onerror:
    failed = [one for job in workflow.scheduler.failed for one in (job.jobs if job.is_group() else [job])]
    atexit.register(
        print,
        failures.last_words((Path(path) for job in failed for path in job.log), *map(str, log[:1])),
        file=sys.stderr,
    )


rule all:
    default_target: True
    input:
        "<results>/report.html",
