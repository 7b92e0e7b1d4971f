"""One name, everywhere: rule, script, log, timings, caption, unit test; a rule's keywords are its script's flags."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfcodealign.config import Config
from selfcodealign.stage import parser

ROOT = Path(__file__).parent.parent
RULE = re.compile(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"^\s*--([a-z][a-z0-9-]*)", re.MULTILINE)
NAMED = re.compile(r"^        (\w+)=", re.MULTILINE)
# Rules of this kind only name targets.
TARGETS = {"all", "tables"}

RULES = [
    (path.stem, name, body)
    for path in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in RULE.findall(path.read_text())
]
NAMES = [name for _, name, _ in RULES if name not in TARGETS]


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


@every_rule
def test_the_flags_a_rule_passes_are_keywords_of_its_script(module, rule, body):
    known = {flag for action in parser(main_of(rule))._actions for flag in action.option_strings}
    passed = set(FLAG.findall(part(body, "shell")))
    assert {f"--{flag}" for flag in passed} <= known
    section = re.search(r'flags\("(\w+)"', part(body, "params"))
    if section:
        assert section[1] == rule, "a rule reads the config section of its own name"
        keys = Config.model_fields[rule].annotation.model_fields
        assert {f"--{key.replace('_', '-')}" for key in keys} <= known
    named = {
        name
        for section in ("input", "output", "params")
        for name in NAMED.findall(part(body, section))
        if name not in ("script", "decided_by", "flags", "implicit")
    }
    spoken = {flag.replace("-", "_") for flag in passed}
    assert named <= spoken, f"keywords of rule {rule} that are not flags: {named - spoken}"


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
    if "--engine" in part(body, "shell") or rule in ("train_sft", "train_dpo"):
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
