"""Self-align a code model: raw source shards in, a fine-tuned model and a benchmark report out."""

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
include: "rules/smollm2.smk"
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
include: "rules/pilot.smk"
include: "rules/cluster.smk"
include: "rules/start_and_end.smk"


rule all:
    default_target: True
    input:
        "<results>/report.html",
