"""`python -m selfcodealign sandbox` loses nothing: neither what was in its output nor a row of its input."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from selfcodealign.__main__ import main

pytestmark = pytest.mark.slow

CASES = [{"id": name, "program": f"print({name!r})"} for name in ("a", "b")]
TEXT = "".join(json.dumps(case) + "\n" for case in CASES)


def sandbox(folder: Path, given: bytes = TEXT.encode(), name: str = "cases.jsonl") -> list[dict]:
    (folder / name).write_bytes(given)
    flags = ["--workers", "1", "--isolation", "bubblewrap"]
    main(["sandbox", "--input", str(folder / name), "--output", str(folder / "v.jsonl"), *flags])
    return [json.loads(line) for line in (folder / "v.jsonl").read_text().splitlines()]


def refused(folder: Path, capsys, given: bytes = TEXT.encode()) -> str:
    with pytest.raises(SystemExit):
        sandbox(folder, given)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    return message


@pytest.mark.parametrize(
    "kept",
    [
        b'{\n  "important": "results",\n  "more": 1\n}\n',
        b'{"id": "a", "code": "x = 1", "test": "assert x"}\n',  # cases, not verdicts
        b"id,verdict\na,pass\n",
        b"[1, 2]\n",
        b"some notes without an end",
        b"\x1f\x8b\x08binary\n",
        b"\n\n",
        TEXT.encode(),
    ],
)
def test_an_output_that_holds_something_else_is_refused_untouched(tmp_path, capsys, kept):
    (tmp_path / "v.jsonl").write_bytes(kept)
    assert "no verdict" in refused(tmp_path, capsys)
    assert (tmp_path / "v.jsonl").read_bytes() == kept


def test_verdicts_with_a_foreign_line_among_them_are_refused_untouched(tmp_path, capsys):
    sandbox(tmp_path)
    kept = (tmp_path / "v.jsonl").read_bytes() + b"a note\n"
    (tmp_path / "v.jsonl").write_bytes(kept)
    assert "line 3" in refused(tmp_path, capsys)
    assert (tmp_path / "v.jsonl").read_bytes() == kept


@pytest.mark.parametrize("tail", [b"", b'{"id": "b", "verd', b"{", b"\0" * 50])
def test_an_output_that_was_begun_is_continued(tmp_path, tail):
    found = sandbox(tmp_path, TEXT.split("\n")[0].encode())
    with (tmp_path / "v.jsonl").open("ab") as file:
        file.write(tail)
    again = sandbox(tmp_path)
    assert again[0] == found[0]
    assert [row["id"] for row in again] == ["a", "b"]


@pytest.mark.parametrize(
    "given",
    [
        gzip.compress(TEXT.encode(), mtime=0),
        gzip.compress(("\ufeff" + TEXT).encode(), mtime=0),
        bz2.compress(TEXT.encode()),
        lzma.compress(TEXT.encode("utf-16")),
        pa.compress(TEXT.encode(), "zstd", asbytes=True),
        TEXT.encode("utf-16"),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b"\n" + TEXT.encode().rstrip() + b"\n\n",
    ],
)
def test_cases_are_read_in_every_usual_form(tmp_path, given):
    assert {row["id"]: row["stdout"] for row in sandbox(tmp_path, given)} == {"a": "a\n", "b": "b\n"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ('{"id": "é", "program": ""}\n'.encode("latin-1"), "no UTF-8 text"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-12], "cannot be read to its end"),
        (b"\x1f\x8b\x08\0", "cannot be read to its end"),
        (b"[[1]]\n", "no string under the key id"),
        (b'{"id": 1, "program": ""}\n', "no string under the key id"),
        (b"{\n", "is not JSON"),
        (b"PK\x03\x04\xff\xfe", "is a ZIP archive; unpack it"),
        (b"<html>", "is a page of HTML"),
        (lzma.compress(TEXT.encode())[:-12], "cannot be read to its end"),
    ],
)
def test_other_files_are_one_sentence(tmp_path, capsys, given, sentence):
    assert sentence in refused(tmp_path, capsys, given)


def test_rows_of_one_id_and_other_content_are_named(tmp_path, caplog):
    rows = [*CASES, CASES[0], {"id": "a", "program": "print('other')"}, {"id": "b", "program": "1 / 0"}]
    found = sandbox(tmp_path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert len(found) == 2
    assert "2 rows were not run" in caplog.text
    assert "a in line 4, b in line 5" in caplog.text
