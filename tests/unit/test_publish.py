"""Publishing checks first, asks, and pushes one commit to the Hub's interface, here a server on this machine."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from selfcodealign import __main__ as command
from selfcodealign.commands.publish import checked, checked_model, contents, provenance_of
from selfcodealign.dataset import card
from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file
from selfcodealign.rows import DatasetRow
from selfcodealign.rows_io import write_rows
from tests.small_run import make_run

pytestmark = pytest.mark.slow


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as a commit of small files needs; keeps what it is sent."""

    status = 200
    commits: list[dict[str, bytes]] = []  # noqa: RUF012
    created: list[dict] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/repos/create"):
            self.created.append(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/datasets/someone/data"})
        elif "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer({"files": [file | {"shouldIgnore": False} for file in files]})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.commits.append({file["path"]: base64.b64decode(file["content"]) for file in files})
            address = f"http://{self.headers['Host']}/datasets/someone/data/commit/{'0' * 40}"
            self.answer({"success": True, "commitOid": "0" * 40, "commitUrl": address})
        else:
            self.answer({})

    def do_GET(self) -> None:
        self.answer({"id": "someone/data", "siblings": [], "sha": "0" * 40})

    def answer(self, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub(monkeypatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    class Fresh(Hub):
        commits: list[dict[str, bytes]] = []  # noqa: RUF012
        created: list[dict] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield Fresh
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = make_run(tmp_path)
    rows = run.rows
    folder = run.results / "build_dataset" / "passing"
    write_rows(folder / "sft" / "train.parquet", DatasetRow, rows)
    facts = card.Facts("passing", rows={"sft": len(rows)})
    for row in rows:
        facts.see(row)
    (folder / "README.md").write_text(card.render(facts, [], [], {}, version="0"))
    (run.results / "provenance.json").unlink(missing_ok=True)
    (folder / "notes.txt").write_text("not part of the dataset")
    return folder


def publish(*words: object) -> None:
    command.main(["publish", *map(str, words)])


def test_one_commit_holds_card_and_rows(hub, folder, capsys):
    publish(folder, "--repo", "someone/data", "--yes")
    (commit,) = hub.commits
    assert commit.keys() == {"README.md", "sft/train.parquet"}
    assert commit["sft/train.parquet"] == (folder / "sft" / "train.parquet").read_bytes()
    assert hub.created[0]["visibility"] == "private"
    assert "/datasets/someone/data/commit/0" in capsys.readouterr().out


def test_a_licence_is_put_on_the_card(hub, folder):
    publish(folder, "--repo", "someone/data", "--yes", "--licence", "odc-by", "--public")
    text = hub.commits[0]["README.md"].decode()
    assert "\nlicense: odc-by\n" in text
    assert "license_name" not in text
    assert hub.created[0].get("visibility") != "private"


def record(folder: Path) -> dict:
    provenance = folder.parent.parent / "provenance.json"
    written = {
        "datasets": {
            "passing": {"sft/train.parquet": {"rows": 1, "sha256": digest_of_file(folder / "sft/train.parquet")}}
        },
        "hash": "sha256:1234",
    }
    provenance.write_text(json.dumps(written))
    return written


def test_the_record_of_the_run_goes_along_and_the_card_names_its_hash(hub, folder):
    written = record(folder)
    publish(folder, "--repo", "someone/data", "--yes")
    (commit,) = hub.commits
    assert json.loads(commit["provenance.json"]) == written
    assert "`sha256:1234`" in commit["README.md"].decode()


def test_a_record_of_other_bytes_is_refused(hub, folder, capsys):
    record(folder)
    with (folder / "sft/train.parquet").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="does not describe .*train.parquet as it is now"):
        provenance_of(folder)


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_nothing_is_pushed_without_consent(hub, folder, capsys, flags):
    publish(folder, "--repo", "someone/data", *flags)
    assert hub.commits == []
    assert hub.created == []
    assert "sft" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--dry-run", "--yes"])
@pytest.mark.parametrize(
    "repo",
    ["bad name/x y/z", "a/b/c", "some one/data", "someone/", "/data", "someone/data.git", "someone/-data", "", "é/x"],
)
def test_a_name_that_no_repository_can_have_is_refused_in_a_dry_run_too(hub, folder, capsys, repo, flag):
    with pytest.raises(SystemExit):
        publish(folder, "--repo", repo, flag)
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: --repo {repo} is not a repository name: ")
    assert (printed.out, hub.created) == ("", [])


def test_a_refusal_is_one_sentence(hub, folder, capsys):
    hub.status = 403
    with pytest.raises(SystemExit):
        publish(folder, "--repo", "someone/data", "--yes")
    assert "the Hub refused to take datasets/someone/data" in capsys.readouterr().err


def test_no_network_is_one_sentence(folder, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(SystemExit):
        publish(folder, "--repo", "someone/data", "--yes")
    assert "the Hub cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "README.md").unlink(), "holds no README.md"),
        (lambda folder: (folder / "README.md").write_text("# hello"), "does not begin with the configurations"),
        (lambda folder: (folder / "sft" / "train.parquet").unlink(), "does not exist"),
        (lambda folder: write_rows(folder / "sft" / "train.parquet", DatasetRow, []), "has no rows for training"),
    ],
)
def test_an_unfinished_folder_is_refused(folder, damage, sentence):
    damage(folder)
    with pytest.raises(UserError, match=sentence):
        checked(folder)


CARD = """---
base_model: org/base
library_name: transformers
---

# base, aligned by itself

`org/base`, fine-tuned on 9 rows.
"""
FILES = {
    "README.md": CARD,
    "config.json": "{}",
    "generation_config.json": "{}",
    "tokenizer.json": "{}",
    "chat_template.jinja": "x",
    "model.safetensors": "weights",
    "pytorch_model.bin": "a pickle",
    "notes.txt": "not part of the model",
}
PUSHED = FILES.keys() - {"pytorch_model.bin", "notes.txt"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "results/train_sft/aligned"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def recorded(model: Path) -> dict:
    files = {path.name: digest_of_file(path) for path in contents(model)[1:]} | {"pytorch_model.bin": "1"}
    written = {"models": {"aligned": {"name": "results/train_sft/aligned", "files": files}}, "hash": "sha256:5678"}
    (model.parent.parent / "provenance.json").write_text(json.dumps(written))
    return written


def test_a_model_goes_to_a_repository_of_models_with_its_card_and_record(hub, model, capsys):
    written = recorded(model)
    publish(model, "--repo", "someone/model", "--yes", "--licence", "apache-2.0")
    (commit,) = hub.commits
    assert commit.keys() == PUSHED | {"provenance.json"}
    assert commit["model.safetensors"] == b"weights"
    assert json.loads(commit["provenance.json"]) == written
    card = commit["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\nbase_model: org/base\n")
    assert "`sha256:5678`" in card
    assert hub.created[0].get("type") in (None, "model")
    assert hub.created[0]["visibility"] == "private"
    assert f"{model} → someone/model\n  a model of base org/base\n" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--dry-run"], []], ids=["dry-run", "no-terminal"])
def test_a_model_is_not_pushed_without_consent(hub, model, capsys, flags):
    publish(model, "--repo", "someone/model", *flags)
    assert (hub.commits, hub.created) == ([], [])
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "pytorch_model.bin" not in printed
    assert "provenance not recorded" in printed


def test_a_model_changed_after_its_record_is_refused(model):
    recorded(model)
    (model / "model.safetensors").write_text("other weights")
    with pytest.raises(UserError, match=r"does not describe .*model\.safetensors as it is now"):
        provenance_of(model)


def test_a_model_of_train_dpo_is_none_of_the_record_of_the_same_name(model):
    recorded(model)
    other = model.parent.parent / "train_dpo/aligned"
    other.parent.mkdir()
    model.rename(other)
    assert provenance_of(other) is None


def test_a_base_that_was_a_folder_is_named_for_the_card(hub, model, capsys):
    (model / "README.md").write_text(CARD.replace("org/base", "../models/base"))
    with pytest.raises(SystemExit):
        publish(model, "--repo", "someone/model", "--yes")
    assert "which is no id on the Hub: name one with --base-model" in capsys.readouterr().err
    publish(model, "--repo", "someone/model", "--yes", "--base-model", "org/base")
    assert hub.commits[0]["README.md"].decode() == CARD


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("README.md", None, "has no card of a model"),
        ("README.md", "# hello", "has no card of a model"),
        ("model.safetensors", None, "has no weights"),
        ("tokenizer.json", None, "has no tokenizer"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "model-2.safetensors"}}', r"lacks model-2\.safetensors"),
    ],
    ids=["no-card", "no-front", "no-weights", "no-tokenizer", "no-shard"],
)
def test_an_unfinished_model_is_refused(model, name, text, sentence):
    if text is None:
        (model / name).unlink()
    else:
        (model / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        checked_model(model, None)
