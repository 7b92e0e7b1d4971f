"""The wheel, in an environment that has nothing but it: built, installed without a network, and used."""

import json
import re
import subprocess
import sys
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import selfcodealign
from tests.conftest import missing

ROOT = Path(__file__).parent.parent.parent
TASKS = ROOT / "tests" / "data" / "three_tasks"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory):
    """A folder with the wheel, that of the example of a plug-in, and the locked versions of what they need."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    steps = {
        "hatchling": ["wheel", "--no-deps", "--wheel-dir", folder, ROOT, ROOT / "docs/examples/plugin"],
        "their packages": ["download", "--only-binary", ":all:", "--dest", folder, "--find-links", folder],
    }
    steps["their packages"] += ["--constraint", ROOT / "envs/evaluate.txt", "selfcodealign", "one-liners"]
    for what, words in steps.items():
        done = subprocess.run([*PIP, *words], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode and re.search(r"No matching distribution|Temporary failure|connection", done.stderr):
            missing(f"no package index with {what}: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def bare(wheelhouse, tmp_path_factory):
    """The folder of programs of an environment that has the two wheels, from the folder alone."""
    place = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    words = ["--python", place / "bin" / "python", "install", "--no-compile", "--no-index", "--find-links", wheelhouse]
    subprocess.run([*PIP, *words, "selfcodealign", "one-liners"], check=True, timeout=300)
    return place / "bin"


@pytest.fixture
def run(bare, tmp_path):
    """Return a function that calls a program of the bare environment in an empty folder, far from the checkout."""

    def called(*words, status=0):
        done = subprocess.run(
            [bare / words[0], *words[1:]],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin:/opt/apptainer/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done.stdout + done.stderr

    return called


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheelhouse):
    (wheel,) = wheelhouse.glob("selfcodealign-*.whl")
    ours = (path for path in (ROOT / "selfcodealign").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if ".dist-info/" not in name}
        (about,) = (name for name in file.namelist() if name.endswith("METADATA"))
        metadata = message_from_bytes(file.read(about))
    assert {path.relative_to(ROOT).as_posix() for path in ours} == inside
    assert "selfcodealign/py.typed" in inside
    assert metadata["Version"] == selfcodealign.__version__
    assert not re.search("torch|snakemake", " ".join(PYPROJECT["project"]["dependencies"]), re.IGNORECASE)


def test_the_sandbox_of_the_wheel_tests_itself(run):
    said = run("selfcodealign", "sandbox", "--self-test", "--isolation", "bubblewrap")
    assert "sandbox layer bubblewrap" in said
    assert "self-test passed" in said


def test_samples_are_scored_by_the_command_and_by_the_function(run, tmp_path):
    files = ("--problems", str(TASKS / "problems.jsonl"), "--samples", str(TASKS / "samples.jsonl"))
    run("selfcodealign", "evaluate", "--benchmark", "humaneval", *files, "--output", "results.json")
    found = json.loads((tmp_path / "results.json").read_text())
    code = (
        "from pathlib import Path; import selfcodealign as s, json;"
        f"found = s.evaluate('humaneval', Path('{TASKS}/problems.jsonl'), Path('{TASKS}/samples.jsonl'));"
        "print(json.dumps(found['tasks']))"
    )
    again = json.loads(run("python", "-c", code).splitlines()[0])
    for tasks in (found["tasks"], again):
        passed = {task: [one["passed"] for one in record["verdicts"]] for task, record in tasks.items()}
        assert passed == {"tasks/0": [True], "tasks/1": [False], "tasks/2": [False, True]}


def test_a_second_wheel_brings_a_benchmark(run, tmp_path):
    record = {
        "task_id": "abs/1",
        "prompt": "def absolute(x):\n",
        "solution": "    return abs(x)\n",
        "tests": ["assert absolute(-2) == 2"],
    }
    (tmp_path / "tasks.jsonl").write_text(json.dumps(record) + "\n")
    said = run(
        *("selfcodealign", "evaluate", "--benchmark", "one_liners", "--problems", "tasks.jsonl"),
        *("--canonical", "--output", "results.json"),
    )
    assert "One-liners: canonical solutions, 1 tasks" in said
    assert json.loads((tmp_path / "results.json").read_text())["metrics"]["pass@1"]["value"] == 100


TOLD = {
    "pilot": (("pilot",), "clone its repository"),
    "cost": (("cost",), "name one with --configfile"),
    "status": (("status",), "holds no run"),
    "publish": (("publish", "x", "--repo", "a/b"), "run pip install 'selfcodealign[publish]'"),
    "serve": (("serve",), "run pip install 'selfcodealign[serve]'"),
    "plan-training": (
        ("plan-training", "--model", "x", "--gpu-memory-gb", "80"),
        "run pip install 'selfcodealign[train]'",
    ),
}


@pytest.mark.parametrize("tool", TOLD)
def test_what_the_wheel_alone_cannot_do_is_one_sentence(run, tool):
    words, sentence = TOLD[tool]
    (line,) = run("selfcodealign", *words, status=1).splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def locked() -> dict[str, set[str]]:
    """Return name → versions of every lock file of an island that the wheel has a part of."""
    found: dict[str, set[str]] = {}
    for island in ("data", "evaluate", "generate", "train", "sandbox", "serve"):
        for line in (ROOT / "envs" / f"{island}.txt").read_text().splitlines():
            if not line.startswith("#"):
                name, _, version = line.partition("==")
                found.setdefault(name, set()).add(version)
    return found


def test_every_range_of_the_wheel_holds_the_locked_version():
    wanted = [*PYPROJECT["project"]["dependencies"]]
    for extra in PYPROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    versions = locked()
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert name in versions, f"{name} is in no lock file"
        for version in versions[name]:
            assert requirement.specifier.contains(version), f"{line}, but the lock files have {version}"


def test_the_version_is_the_same_everywhere():
    version = selfcodealign.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
