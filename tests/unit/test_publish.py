"""Publishing checks first, asks, and pushes one commit to the Hub's interface, here a server on this machine."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from selfcodealign import __main__ as command
from selfcodealign.commands.publish import checked, provenance_of
from selfcodealign.dataset import card
from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file
from selfcodealign.rows import DatasetRow
from selfcodealign.rows_io import write_rows
from tests.small_run import make_run


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
