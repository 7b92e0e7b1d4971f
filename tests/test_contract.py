"""One name, everywhere: rule, script, log, timings, caption, unit test; a rule's keywords are its script's flags."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from selfcodealign.config import Config
from selfcodealign.plan import Plan
from selfcodealign.planned_samples import PlannedSamples
from selfcodealign.stage import parser

ROOT = Path(__file__).parent.parent
RULE = re.compile(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"^\s*--([a-z][a-z0-9-]*)", re.MULTILINE)
NAMED = re.compile(r"^        (\w+)=", re.MULTILINE)
UNFOLDED = re.compile(r"{params\.(\w+)}")
IMPORT = re.compile(r"^from selfcodealign\..*", re.MULTILINE)
# Rules of this kind only name targets.
TARGETS = {"all", "tables", "pilot"}

RULES = [
    (path.stem, name, body)
    for path in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in RULE.findall(path.read_text())
]
NAMES = [name for _, name, _ in RULES if name not in TARGETS]
CONFIG = Config.model_validate(
    {
        "demo": True,
        "other_datasets": {"other": {"source": "rows.jsonl"}},
        "generations": {"self": {}, "given": {"tasks": {"source": "tasks.jsonl"}}},
    }
)
PLAN = Plan(CONFIG, ["00000.parquet"])
SAMPLES = PlannedSamples(PLAN)


def part(body: str, section: str) -> str:
    """Return the text of one section of a rule."""
    found = re.search(rf"^    {section}:\n(.*?)(?=^    \w+:|\Z)", body, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


every_rule = pytest.mark.parametrize(
    ("module", "rule", "body"), [item for item in RULES if item[1] not in TARGETS], ids=NAMES
)


@every_rule
def test_a_rule_is_complete(module, rule, body):
    sections = ('"""', "input:", "output:", "log:", "benchmark:", "container:", "threads:", "resources:", "message:")
    for section in (*sections, "shell:"):
        assert section in body, f"rule {rule} in {module}.smk lacks {section}"
    assert f"<logs>/{rule}" in part(body, "log")
    assert f"<timings>/{rule}" in part(body, "benchmark")
    assert f"<results>/{rule}" in part(body, "output"), f"outputs of {rule} belong under <results>/{rule}"
    assert f'script("{rule}")' in part(body, "input")
    assert f'decided_by("{rule}")' in part(body, "input"), "what decides is an input"


def passed(module: str, rule: str, body: str) -> set[str]:
    """Return the flags that a rule gives its script: those it names, and one for each key that it unfolds."""
    names: dict[str, Any] = {"flags": unfolded, "written_flags": dict, "pairs": dict, "of": lambda *_, **__: None}
    names["entry_of"] = str
    names |= {"PLAN": PLAN, "SAMPLES": SAMPLES, "CONFIG": CONFIG, "config": CONFIG.model_dump(mode="json")}
    exec("\n".join(IMPORT.findall((ROOT / "rules" / f"{module}.smk").read_text())), names)
    wildcards = SimpleNamespace(generation="self", dataset="passing", model="aligned", benchmark="demo")
    if rule == "import_dataset":
        wildcards.dataset = "other"
    if rule == "import_tasks":
        wildcards.generation = "given"
    found = set(FLAG.findall(part(body, "shell")))
    for keyword in ast.parse(f"f({part(body, 'params')})", mode="eval").body.keywords:  # pyright: ignore
        if keyword.arg in UNFOLDED.findall(part(body, "shell")) and f"--{keyword.arg}" not in part(body, "shell"):
            settings = eval(ast.unparse(keyword.value), names)
            if isinstance(settings := settings(wildcards) if callable(settings) else settings, dict):
                found |= {key.replace("_", "-") for key in settings}
    return found


def unfolded(section: str, changes: Any = None, kind: Any = None) -> Any:
    """Stand in for `flags` of rules/common.smk: the settings, not yet written."""
    keys = (kind or Config.model_fields[section].annotation).model_fields
    return lambda wildcards: dict.fromkeys(keys) | (changes(wildcards) if changes else {})


def sections_of(main: Any) -> dict[str, type[BaseModel]]:
    """Return the parameters of a script that are unfolded."""
    kinds = get_type_hints(main).items()
    return {name: kind for name, kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)}


@every_rule
def test_a_rule_passes_every_flag_of_its_script_and_no_other(module, rule, body):
    known = {flag for action in parser(main_of(rule))._actions for flag in action.option_strings} - {"-h", "--help"}
    assert {f"--{flag}" for flag in passed(module, rule, body)} == known
    named = {
        name
        for section in ("input", "output", "params")
        for name in NAMED.findall(part(body, section))
        if name not in ("script", "decided_by", "implicit") and f"{{params.{name}}}" not in part(body, "shell")
    }
    spoken = {flag.replace("-", "_") for flag in FLAG.findall(part(body, "shell"))}
    assert named <= spoken, f"keywords of rule {rule} that are not flags: {named - spoken}"


@pytest.mark.parametrize("section", [name for name in Config.model_fields if name in NAMES])
def test_every_key_of_a_rules_section_reaches_its_script_in_one_way(section):
    (rule,) = (item for item in RULES if item[1] == section)
    keys = set(Config.model_fields[section].annotation.model_fields)
    assert {key.replace("_", "-") for key in keys} <= passed(*rule)
    assert not keys & (set(get_type_hints(main_of(section))) - {"return"}), "a key stands in its section alone"


def test_every_key_of_the_other_sections_is_read():
    read = {key for rule in RULES if rule[1] not in TARGETS for key in passed(*rule)}
    paths = [*(ROOT / "rules").glob("*.smk"), *(ROOT / "selfcodealign").glob("plan*.py")]
    paths += (ROOT / "selfcodealign" / "config" / f"{name}.py" for name in ("cells", "config", "paths", "reading"))
    text = "\n".join(path.read_text() for path in paths)
    kinds = {name: field.annotation for name, field in Config.model_fields.items() if name not in NAMES}
    assert "pairs(PLAN.judges_engine())" in text, "the engine's keys are passed together"
    del kinds["engine"]
    for name, kind in kinds.items():
        entries = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
        for key in [name, *(key for one in entries for key in one.model_fields)]:
            seen = re.search(rf'\.{key}\b|"{key}"', text)
            assert seen or key.replace("_", "-") in read, f"nothing reads {key} of {name}"


def test_a_key_that_may_be_empty_is_empty_unless_it_is_given():
    """Empty keys are left out of command lines."""
    for rule in sorted(set(NAMES)):
        for kind in sections_of(main_of(rule)).values():
            for key, field in kind.model_fields.items():
                if type(None) in get_args(field.annotation):
                    assert field.default is None, f"{kind.__name__}.{key}"


@every_rule
def test_a_rule_has_a_unit_test(module, rule, body):
    assert (ROOT / "tests" / "unit" / f"test_{rule}.py").is_file()


def test_every_script_belongs_to_a_rule():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")} - {"__init__"}
    assert scripts == set(NAMES)


def test_captions_belong_to_rules():
    captions = {path.stem for path in (ROOT / "report").glob("*.rst")} - {"workflow"}
    assert captions <= set(NAMES)


@pytest.mark.parametrize("folder", ["scripts", "selfcodealign"])
def test_nothing_below_the_rules_imports_snakemake(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "snakemake" for name in names), f"{path} imports snakemake"


def test_planning_a_run_imports_nothing_heavy():
    code = "import sys, selfcodealign.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "transformers", "pyarrow", "numpy"} & set(loaded.stdout.split())


@every_rule
def test_a_job_that_runs_a_model_sees_all_its_gpus(module, rule, body):
    """Where tasks per GPU are counted, SLURM gives each task one GPU; a model wants all of its job."""
    if "--engine" in part(body, "shell") or rule in ("train_sft", "train_dpo", "train_grpo"):
        assert "tasks_per_gpu=0" in part(body, "resources")
    else:
        assert "tasks_per_gpu" not in body


def test_the_entry_file_stays_small():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60


def test_the_configuration_page_and_schema_are_up_to_date():
    command = [sys.executable, "-m", "selfcodealign", "config", "--check"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def main_of(rule: str):
    """Return the `main` of a rule's script."""
    return importlib.import_module(f"scripts.{rule}").main
