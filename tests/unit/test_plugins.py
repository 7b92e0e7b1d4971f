"""Benchmarks and backends of other packages: found by name, refused in one sentence, and inputs of what they decide."""

import json
import sys
from pathlib import Path

import pytest

from selfcodealign import planned_plugins, plugins
from selfcodealign.config import load
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base
from selfcodealign.generation.backends import open_backend
from selfcodealign.generation.settings import EngineSettings, ModelSettings
from selfcodealign.models import fingerprint
from selfcodealign.plan import Plan

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "plugin" / "src" / "one_liners"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a package with entry points beside the others: what pip would leave of it."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def installed(entry_points, name="theirs", modules=None):
        site = tmp_path / "site" / name
        about = site / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[selfcodealign.{group}]\n{line}\n" for group, line in entry_points]
        (about / "entry_points.txt").write_text("".join(lines))
        for file, text in (modules or {}).items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(text)
        monkeypatch.syspath_prepend(str(site))
        plugins._entry_points.cache_clear()
        return site

    yield installed
    plugins._entry_points.cache_clear()
    for module in set(sys.modules) - before:
        del sys.modules[module]


@pytest.fixture
def example(install):
    """The package of docs/examples."""
    modules = {f"one_liners/{file.name}": file.read_text() for file in EXAMPLE.glob("*.py")}
    points = [
        ("benchmarks", "one_liners = one_liners.benchmark:OneLiners"),
        ("backends", "replay = one_liners.backend:ReplayBackend"),
    ]
    return install(points, "one-liners", modules)


def test_a_benchmark_is_found_by_name_and_may_stand_in_a_config(example, tmp_path):
    assert base.get("one-liners").title == "One-liners"
    assert base.known()[-1] == "one_liners"
    config = load({"benchmarks": {"mine": {"benchmark": "one_liners", "file": "tasks.jsonl"}}})
    assert Plan(config, []).island("mine") == "evaluate"


def test_a_backend_answers_under_its_name(example, tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"prompt": "one", "text": "1"}) + "\n")
    model, engine = ModelSettings(name=str(answers)), EngineSettings(backend="replay")
    assert open_backend(model, engine).doing() == "reading recorded answers"
    first = fingerprint(model.name, "main")
    answers.write_text("")
    assert fingerprint(model.name, "main") != first, "what it answers from is what the model is"


def test_files_of_a_plug_in_are_inputs_of_the_rules_that_use_it(example, tmp_path):
    values = {
        "benchmarks": {"one_liners": {"file": "tasks.jsonl"}},
        "model": {"base": "answers.jsonl", "engine": {"backend": "replay"}},
    }
    plan = Plan(load(values), [])
    asked = planned_plugins.files(plan, "sample_solutions")
    assert ".snakemake/plugins/one_liners/benchmark.py" in asked
    assert Path(asked[0]).resolve().is_relative_to(example)
    for rule in ("decontaminate_seeds", "execute_programs", "score_benchmark", "judge_seeds", "write_responses"):
        assert planned_plugins.files(plan, rule) == asked
    assert planned_plugins.files(plan, "train_sft") == []
    own = Plan(load({"benchmarks": {"humaneval": {}}}), [])
    assert planned_plugins.files(own, "execute_programs") == []


def test_an_edit_of_a_plug_in_sets_its_answers_aside(example):
    engine = EngineSettings(backend="replay")
    first = engine.decides()
    (example / "one_liners" / "backend.py").open("a").write("\nEDITED = True\n")
    assert engine.decides() != first
    assert plugins.content("benchmarks", "humaneval", base.BENCHMARKS) == {}


MODULE = {
    "theirs/__init__.py": "",
    "theirs/one.py": "import nowhere\n",
    "theirs/two.py": "class Two:\n    name = 'two'\n",
}
REFUSED = {
    "no-module": (["one = theirs.gone:One"], "one", "theirs.gone:One cannot be loaded (ModuleNotFoundError"),
    "import-fails": (
        ["one = theirs.one:One"],
        "one",
        "cannot be loaded (ModuleNotFoundError: No module named 'nowhere'",
    ),
    "no-benchmark": (["two = theirs.two:Two"], "two", "names no subclass of selfcodealign.Benchmark"),
    "own-name": (["humaneval = theirs.two:Two"], "none", "selfcodealign has one of this name itself"),
    "odd-name": (["My-Own = theirs.two:Two"], "none", "use lower-case letters"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_benchmark_is_one_sentence_that_names_package_and_entry_point(install, case):
    lines, asked, sentence = REFUSED[case]
    install([("benchmarks", line) for line in lines], modules=MODULE)
    with pytest.raises(UserError) as error:
        base.get(asked)
    entry = lines[0].partition(" ")[0]
    assert str(error.value).startswith(f"entry point {entry} of selfcodealign.benchmarks in the package theirs: ")
    assert sentence in str(error.value)
    assert base.get("humaneval").name == "humaneval", "what is here needs no plug-in"


def test_two_packages_with_one_name_are_named(install):
    install([("benchmarks", "one = theirs.two:Two")], modules=MODULE)
    install([("benchmarks", "one = others:One")], name="others")
    with pytest.raises(UserError, match=r"package (theirs|others): .* package (theirs|others) has the same name"):
        base.get("one")


def test_a_backend_without_the_interface_is_named(install):
    install([("backends", "two = theirs.two:Two")], modules=MODULE)
    with pytest.raises(UserError, match="entry point two of .* package theirs: it lacks complete, score, doing, close"):
        open_backend(ModelSettings(name="any"), EngineSettings(backend="two"))


def test_names_that_are_here_ask_no_installed_package(monkeypatch):
    monkeypatch.setattr(plugins, "_entry_points", None)
    values = {"engine": {"backend": "openai", "base_url": "http://a/v1"}, "benchmarks": {"humaneval": {}}}
    plan = Plan(load(values | {"data": {"kept_out": ["mbpp"], "other_benchmarks": {"set:mbpp": "mbpp.jsonl"}}}), [])
    assert planned_plugins.files(plan, "decontaminate_seeds") == planned_plugins.files(plan, "judge_seeds") == []
