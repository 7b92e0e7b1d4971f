"""What every module of rules shares: a checked config, the plan of who is made from what, flags, images and memory."""

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.current_basedir).parent
sys.path.insert(0, str(ROOT))

from selfcodealign import config as schema
from selfcodealign import failures, images, pipeline, planned_plugins, preflight, stage
from selfcodealign.errors import UserError
from selfcodealign.plan import Plan, examples_of

RESULTS, TIMINGS = (workflow.pathvars.apply(f"<{name}>") for name in ("results", "timings"))

# Files of the pipeline are named through a link in the run's folder: their names, which Snakemake compares, then do not
# change when the run or the pipeline is moved.
LINK = schema.link_to(ROOT)

stage.collect_rarely()
try:
    CONFIG = schema.located(schema.load(schema.extended(config, (Path(), ROOT), workflow.configfiles)), LINK)
    preflight.check_config(CONFIG)
    CONFIG = schema.placed(CONFIG, RESULTS)
    PLAN = Plan(CONFIG, schema.raw_shards(CONFIG, RESULTS), RESULTS, TIMINGS)
    PLAN.check_targets(sys.argv[1:])  # Snakemake knows its targets only after it has read the rules.
except UserError as error:
    raise WorkflowError(str(error))

# From here on every key is present, so that rules may look anything up.
config.update(CONFIG.model_dump(mode="json"))

# A failed job ends its log with one command that runs it again by hand: the shell knows the command it was given.
BY_HAND = (
    f'[ "$?" = 0 ] || {{ printf "{failures.BY_HAND}cd %q && " "$PWD"; '
    '[ -z "${APPTAINER_CONTAINER:-}" ] || printf "apptainer exec --bind %q --home %q %s %q " "${APPTAINER_BIND:-}" '
    f'"$PWD" {shlex.quote(workflow.deployment_settings.apptainer_args)} "$APPTAINER_CONTAINER"; '
    'printf "bash -c %q\\n" "$BASH_EXECUTION_STRING"; } >&2'
)
# shell.prefix formats its text, as shell commands are.
AT_EXIT = shlex.quote(BY_HAND).replace("{", "{{").replace("}", "}}")

# Every job sees the repository's own packages. Outside a container it has this very interpreter first, inside one the
# image's own. Bytes must not depend on a machine's hash seed or locale.
HUB_HOME = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT))} PYTHONHASHSEED=0 PYTHONNOUSERSITE=1 "
    f"TOKENIZERS_PARALLELISM=false LC_ALL=C.UTF-8 HF_HOME={shlex.quote(HUB_HOME)}; "
    '[ -n "${{APPTAINER_CONTAINER:-}}" ] || '
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"trap {AT_EXIT} EXIT; "
)

# What a container must see besides the working folder and /tmp; Apptainer reads this variable in every job.
IN_CONTAINERS = "apptainer" in {str(method) for method in workflow.deployment_settings.deployment_method}
if IN_CONTAINERS:
    seen = [os.environ.get("APPTAINER_BIND", ""), str(ROOT), *(path for path in [HUB_HOME] if Path(path).is_dir())]
    os.environ.update(APPTAINER_BIND=",".join(dict.fromkeys(filter(None, seen))))


wildcard_constraints:
    shard=r"\d{5}",
    generation=r"[a-z0-9][a-z0-9_.-]*",
    dataset=r"[a-z0-9][a-z0-9_.-]*",
    model=r"[a-z0-9][a-z0-9_.-]*",
    benchmark=r"[a-z0-9][a-z0-9_-]*",


def script(name):
    """Path of a stage's script; naming it as input makes its edits visible."""
    return f"{LINK}/scripts/{name}.py"


def decided_by(rule):
    """Paths of the modules that decide what a rule writes, here and in plug-ins, so that their edits are visible too."""
    own = [f"{LINK}/{path.relative_to(ROOT)}" for path in pipeline.decided_by(rule)[1:]]
    return own + planned_plugins.files(PLAN, rule)


def entry_of(name):
    """Entry of the config that a wildcard names; a round of a generation's responses has its folder behind it."""
    return name.partition("/")[0]


def of(function, *names, part=slice(None)):
    """Input or params function: what a function of the plan says of some wildcards, or a part of it."""
    return lambda wildcards: function(*(entry_of(wildcards[name]) for name in names))[part]


def flags(section, changes=None, kind=None):
    """Params: a config section as flags.

    `changes` gives, of the wildcards, keys that differ for one entry; `kind` is the part of the section that is wanted.
    """
    values = {key: config[section][key] for key in (kind or type(getattr(CONFIG, section))).model_fields}
    return lambda wildcards: written_flags(values | (changes(wildcards) if changes else {}))


def written_flags(settings):
    """Settings as flags."""
    return shlex.join(stage.words(settings))


def pairs(settings):
    """Settings as NAME=VALUE words of one flag."""
    return shlex.join(stage.pairs(settings))


def image(name):
    """Image of an island of dependencies, as the config names it and where it lies."""
    return images.locate(CONFIG.containers[name])


def by_attempt(mb):
    """Memory of a job: as much again each time that it is tried."""
    return lambda wildcards, attempt: mb * attempt
