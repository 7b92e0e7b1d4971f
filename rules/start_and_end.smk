"""
Before the first job, and after one has failed: what is checked, and what a person reads last.
"""


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


# Snakemake prints lines of its own after this; what a person needs comes behind them, at the very end.
onerror:
    failures.say_at_exit(workflow.scheduler.failed, log)
