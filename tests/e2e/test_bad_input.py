"""A person's mistake is one clear sentence, before any job starts where that is possible."""

import subprocess

import pytest

from tests.e2e.conftest import Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("mistakes") / "checkout", config=None)


def refused(checkout: Checkout, *words: str) -> str:
    done = subprocess.run(checkout.command(*words), cwd=checkout.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    printed = done.stdout + done.stderr  # Snakemake and its jobs print to the second alone.
    assert "Traceback" not in printed
    return printed


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("sed: 1", "config key sed is unknown"),
        ("seed: many", "config key seed"),
        ("data: {raw_shards: 'nowhere/*.parquet'}", "no file matches nowhere/*.parquet"),
        ("data: {raw_shards: [nowhere.parquet]}", "nowhere.parquet does not exist"),
        ("model: {base: ./no-such-model}", "no-such-model"),
        ("data: {content_column: a}\nseed: 1\ndata: {content_column: b}", "the key data stands twice in one section"),
        ("filter_seeds: {min_lines: 10, max_lines: 5}", "filter_seeds.min_lines: 10 is above max_lines"),
        ("train_sft: {deepspeed: nope.json}", "train_sft.deepspeed names nope.json"),
    ],
)
def test_a_mistake_in_the_config_stops_before_any_job(checkout, config, sentence):
    file = checkout.folder / "mistake.yaml"
    file.write_text(config)
    assert sentence in refused(checkout, "--dry-run", "--configfile", "mistake.yaml")


def test_a_key_twice_in_the_default_config_is_refused_too(checkout):
    file = checkout.folder / "config.yaml"
    kept = file.read_text()
    try:
        file.write_text(kept + "\nmodel: {base: demo/model}\n")
        assert "config.yaml: the key model stands twice" in refused(checkout, "--dry-run")
    finally:
        file.write_text(kept)


def test_benchmarks_that_cannot_be_fetched_stop_before_any_job(checkout, monkeypatch):
    """A model of one's own on a machine without internet: two lines of config, and nothing is fetched for hours."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (checkout.folder / "mine.jsonl").write_text('{"content": "x = 1"}\n')
    (checkout.folder / "own.yaml").write_text("model: {base: demo/model}\ndata: {raw_shards: mine.jsonl}\n")
    printed = refused(checkout, "--cores", "1", "--configfile", "own.yaml")
    assert "the tasks of 14 benchmarks cannot be fetched from here" in printed
    assert "bring humaneval_plus, mbpp_plus with benchmarks.<name>.file, and bring humaneval, mbpp, evoeval" in printed
    assert "or name in data.kept_out only what shall be kept out ([] waives all)" in printed
    assert not (checkout.folder / "logs").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("broken", b"PAR1 not really parquet", "broken.parquet"),
        ("columns", {"text": ["x = 1"]}, "content"),
        ("empty", {"content": []}, "empty.parquet"),
    ],
)
def test_an_unusable_shard_is_named(checkout, name, content, sentence):
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard = checkout.folder / f"{name}.parquet"
    if isinstance(content, bytes):
        shard.write_bytes(content)
    else:
        pq.write_table(pa.table({key: pa.array(values, pa.string()) for key, values in content.items()}), shard)
    (checkout.folder / "mistake.yaml").write_text(f"data: {{raw_shards: [{shard.name}]}}")
    target = "results/extract_functions/00000.parquet"
    printed = refused(checkout, "--cores", "1", target, "--configfile", "mistake.yaml")
    *_, said, log, by_hand = printed.splitlines()
    assert said.startswith("error: ")
    assert sentence in said
    assert log == "log: logs/extract_functions/00000.log"
    shown = subprocess.run(
        by_hand.removeprefix("by hand: "), shell=True, cwd=checkout.folder, capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith(f"To run this job by hand: cd {checkout.folder} && bash -c ")
