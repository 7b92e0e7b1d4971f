"""What was recorded is enough to say whether two runs were the same."""

import hashlib
import json
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from scripts.record_provenance import code, dataset, hash_of, main, model, packages
from selfcodealign.errors import UserError
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import write_rows

ROW = {"id": "fn-0", "content": "x", "repo": "", "path": "", "line": 1, "licence": "MIT"}
CONFIG = '{"data": {"raw_shards": "raw.parquet"}}'


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one raw shard, a trained model and a dataset."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "raw.parquet", FunctionRow, [ROW])
    write_rows(tmp_path / "passing/sft/train.parquet", FunctionRow, [ROW, ROW])
    (tmp_path / "aligned").mkdir()
    (tmp_path / "aligned/model.safetensors").write_bytes(b"weights")
    return tmp_path


def record(folder: Path, name: str = "provenance.json", **config: object) -> dict:
    config = {"data": {"raw_shards": "raw.parquet"}, **config}
    main(
        folder / name,
        folder / "requirements.txt",
        folder / "ro-crate-metadata.json",
        config=json.dumps(config),
        models=[folder / "aligned"],
        datasets=[folder / "passing"],
    )
    return json.loads((folder / name).read_text())


def test_commit_config_seeds_versions_machine_and_hashes_are_recorded(workplace: Path) -> None:
    found = record(workplace, seed=7)
    assert found["config"]["seed"] == found["seeds"]["run"] == 7
    assert found["seeds"]["models"] == {"aligned": 7}
    assert found["models"]["aligned"]["files"]["model.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert found["datasets"]["passing"]["sft/train.parquet"]["rows"] == 2
    assert found["raw_shards"] == [{"name": "raw.parquet", "bytes": (workplace / "raw.parquet").stat().st_size}]
    assert found["packages"]["pyarrow"] == packages()["pyarrow"]
    assert found["hardware"]["cores"] >= 1
    assert set(found["code"]["lock_files"]) >= {"train.txt", "data.txt"}


def test_the_images_that_jobs_ran_in_are_recorded_by_digest(workplace: Path) -> None:
    assert record(workplace)["images"] == {}
    main(
        workplace / "in.json",
        workplace / "requirements.txt",
        workplace / "crate.json",
        config=CONFIG,
        images={"data": "sha256:12"},
    )
    found = json.loads((workplace / "in.json").read_text())["images"]
    assert found == {"data": {"image": "containers/data.sif", "digest": "sha256:12"}}


def test_the_config_is_recorded_with_its_defaults(workplace: Path) -> None:
    assert record(workplace)["config"]["train_sft"]["epochs"] >= 1


def test_the_hash_covers_everything_but_the_time(workplace: Path) -> None:
    first = record(workplace)
    assert first["hash"] == hash_of(first)
    assert hash_of(first | {"recorded": "2000-01-01T00:00:00+00:00"}) == first["hash"]
    assert record(workplace, "second.json")["hash"] == first["hash"]
    (workplace / "aligned/model.safetensors").write_bytes(b"other weights")
    assert record(workplace, "third.json")["hash"] != first["hash"]


def test_a_model_on_the_hub_is_named_by_its_revision() -> None:
    assert model("someone/model-7b", "abc123") == {"name": "someone/model-7b", "revision": "abc123"}


def test_where_a_model_lies_on_this_machine_is_not_published(workplace: Path) -> None:
    private = workplace / "private/models/x"
    private.mkdir(parents=True)
    (private / "model.safetensors").write_bytes(b"weights")
    found = record(workplace, model={"base": str(private)}, models={"aligned": {"dataset": "passing"}})
    assert found["config"]["model"]["base"] == found["models"]["base"]["name"] == "x"
    assert found["models"]["base"]["revision"].startswith("sha256:")
    for path in (workplace / "provenance.json", workplace / "ro-crate-metadata.json"):
        assert str(private) not in path.read_text()


def test_every_configuration_of_a_dataset_is_hashed(tmp_path: Path) -> None:
    write_rows(tmp_path / "sft/train.parquet", FunctionRow, [ROW])
    write_rows(tmp_path / "dpo/train.parquet", FunctionRow, [ROW, ROW])
    assert {name: one["rows"] for name, one in dataset(tmp_path).items()} == {
        "dpo/train.parquet": 2,
        "sft/train.parquet": 1,
    }


def test_a_folder_outside_any_repository_has_no_commit(tmp_path: Path) -> None:
    assert code(tmp_path)["commit"] is None


def test_the_installed_packages_are_written_as_pip_reads_them(workplace: Path) -> None:
    record(workplace)
    assert f"pyarrow=={packages()['pyarrow']}\n" in (workplace / "requirements.txt").read_text()


def test_the_crate_leads_from_the_run_to_its_files_and_can_be_read_back(workplace: Path) -> None:
    found = record(workplace)
    described = {entity.id: entity for entity in ROCrate(str(workplace)).get_entities()}
    run = described["#run"]
    assert run["endTime"] == found["recorded"]
    assert run["instrument"]["version"].startswith(found["code"]["version"])
    assert {item.id for item in run["result"]} == {"report.html", "provenance.json", "passing/", "aligned/"}
    (table,) = described["passing/"]["hasPart"]
    assert table["sha256"] == found["datasets"]["passing"]["sft/train.parquet"]["sha256"]
    assert {item["name"] for item in run["object"]} == {found["models"]["base"]["name"], "raw.parquet"}


def test_two_records_of_one_run_have_one_crate_but_for_the_time(workplace: Path) -> None:
    texts = []
    for _ in range(2):
        found = record(workplace)
        texts.append((workplace / "ro-crate-metadata.json").read_text().replace(found["recorded"], "then"))
    assert texts[0] == texts[1]


def test_a_config_that_is_no_json_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--config is not JSON"):
        main(tmp_path / "provenance.json", tmp_path / "requirements.txt", tmp_path / "crate.json", config="seed: 1")


def test_a_wrong_key_in_the_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sede"):
        main(tmp_path / "provenance.json", tmp_path / "requirements.txt", tmp_path / "crate.json", config='{"sede": 1}')
