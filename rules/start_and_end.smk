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
    # For its limit of 100 jobs a second Snakemake looks for jobs again one second after each look, and once more whenever
    # a job ends: after 200 jobs about 200 times a second, which takes a third of a core. No run here starts as many.
    limiter = workflow.scheduler.job_rate_limiter
    if limiter and limiter.max_jobs >= 100 * limiter.timespan:
        workflow.scheduler.job_rate_limiter = None


# Snakemake prints lines of its own after this; what a person needs comes behind them, at the very end.
onerror:
    failures.say_at_exit(workflow.scheduler.failed, log)
