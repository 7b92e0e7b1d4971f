"""Functions are cut out exactly as they stand, and every file without any says why."""

import ast
import bz2
import gzip
import inspect
import json
import lzma
import re
import textwrap
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.extract_functions import functions_of, main
from selfcodealign import config
from selfcodealign.config.seeds import Columns, ExtractFunctions
from selfcodealign.errors import UserError
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds import extraction, lexer
from selfcodealign.seeds.extraction import extract
from selfcodealign.seeds.raw import SourceFile, hub_file, read_files
from tests.seed_rows import DOUBLE, outputs, write_shard


def texts(source: str, *, reference: bool = False) -> list[str]:
    return [found.content for found in extract(source.encode(), reference=reference)]


@pytest.mark.parametrize("mode", [True, False], ids=["reference", "fixed"])
@pytest.mark.parametrize(
    "source",
    [
        DOUBLE,
        f"import os\n\n\n{DOUBLE}\n\n\nx = 1\n",
        f"{DOUBLE}\n# a comment\n\nclass A:\n    pass\n",
        f"'''\ndef not_code():\n    \"\"\"It is text.\"\"\"\n'''\n{DOUBLE}\n",
        f"x = (\n1,\n)\n{DOUBLE}\n",
        f'class A:\n    def method(self):\n        """Doc."""\n\n{DOUBLE}\n',
        f'if True:\n    def nested(x):\n        """Doc."""\n\n{DOUBLE}\n',
        f"{DOUBLE}\n    # still inside\n\n\nprint(1)\n".replace("    # still inside\n", ""),
    ],
)
def test_only_top_level_functions_are_found_and_nothing_around_them(source, mode):
    assert texts(source, reference=mode) == [DOUBLE]


@pytest.mark.parametrize(
    ("source", "reference", "fixed"),
    [
        ("@cache\n@other(1)\n" + DOUBLE, [DOUBLE], ["@cache\n@other(1)\n" + DOUBLE]),
        ("def f(x):\n    '''Doc.'''\n    return x", [], None),
        ('def f(x):\n    "Doc."\n    return x', [], None),
        ('def f(x):\n    r"""Doc \\d."""\n    return x', [], None),
        ('def f(x):\n    "Doc " "in two."\n    return x', [], None),
        ('def f(x):\n    f"""Doc {x}."""\n    return x', [], []),
        ('def f(x):\n    b"""Doc."""\n    return x', [], []),
        ('def f(x):\n    """"""\n    return x', [], []),
        ('def f(x):\n    """   """\n    return x', None, []),
        ('def f(x):\n    """Doc.""".strip()\n    return x', [], []),
        ('def f(x):\n    """Doc.""" + "more"\n    return x', [], []),
        ("def f(x):\n    return x", [], []),
        ('async def f(x):\n    """Doc."""\n    return x', None, None),
        ('def f(x): """Doc."""', None, None),
        (
            'def f(\n    x,\n    y={"a": [1]},\n) -> dict[str, int]:\n    # why\n\n    """Doc."""\n    return x',
            None,
            None,
        ),
        ('def f(x=lambda: 1):\n    """Doc."""\n    return x', None, None),
        ('def f(x):\n    """Doc with a line\ndef g(y):\nin the first column."""\n    return x', None, None),
        ('def f(x):\n    """Doc."""\n    y = """\ndef g(z):\n"""\n    return y', None, None),
        ('def f(x):\r\n    """Doc."""\r\n    return x', None, None),
        ('def f(x):\n\t"""Doc."""\n\treturn x', None, None),
        ('def f(x):\n    """Doc."""\n    print x\n    return x', None, None),
    ],
)
def test_modes_differ_in_decorators_and_docstrings_only(source, reference, fixed):
    """None stands for the whole source, a list for what is found instead."""
    assert texts(source, reference=True) == ([source] if reference is None else reference)
    assert texts(source) == ([source] if fixed is None else fixed)


@pytest.mark.parametrize(
    "docstring",
    [
        "('Return x.')",
        '("""Return\n    x.""")',
        "('Return '\n     'x.')",
        '(\n        "Return "\n        "x."\n    )',
        "(  # said\n     'Return x.')",
        "(('Return x.'))",
        "(r'Return \\x.')",
    ],
)
def test_a_docstring_may_stand_in_parentheses(docstring):
    source = f"def f(x):\n    {docstring}\n    return x"
    assert ast.get_docstring(ast.parse(source).body[0])  # pyright: ignore[reportArgumentType]
    assert texts(source) == [source]
    assert texts(source, reference=True) == []


@pytest.mark.parametrize(
    "docstring", ["('Doc.',)", "(f'Doc {x}')", "(b'Doc.')", "('Doc.' + 'x')", "('Doc.').strip()", "()"]
)
def test_what_is_no_docstring_in_parentheses_is_none(docstring):
    assert texts(f"def f(x):\n    {docstring}\n    return x") == []


AREA = 'def area(w, h):\n    """Return the area."""\n    return w * h'


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("\ufeff" + AREA + "\n\n" + DOUBLE + "\n", [1, 5]),
        ("\ufeff# said\r\n" + (AREA + "\n\n" + DOUBLE).replace("\n", "\r\n"), [2, 6]),
        ((AREA + "\n\n" + DOUBLE + "\n").replace("\n", "\r"), [1, 5]),
        ("\ufeff" + (AREA + "\n\n" + DOUBLE).replace("\n", "\r"), [1, 5]),
        ((AREA + "\n\n").replace("\n", "\r") + DOUBLE, [1, 5]),
        ("x = 1\r\r" + AREA + "\n\n" + DOUBLE, [3, 7]),
    ],
    ids=["mark", "mark-crlf", "cr", "mark-cr", "mixed", "cr-before"],
)
def test_byte_order_marks_and_carriage_returns_lose_no_function(source, lines):
    found, reason = functions_of(SourceFile(source.encode(), "r", "p", "MIT"), reference=False, max_file_mb=1)
    assert (reason, [function.line for function in found]) == ("", lines)
    assert [function.content.replace("\r", "") for function in found] == [AREA, DOUBLE]
    assert [ast.parse(function.content).body[0].end_lineno for function in found] == [3, 3]


def test_lines_are_counted_from_the_decorator():
    source = f'"""Module\ndoc."""\n\nx = "a\\\nb"\n\n@cache\n{DOUBLE}\n'
    (found,) = extract(source.encode(), reference=False)
    assert source.split("\n")[found.line - 1] == "@cache"
    (found,) = extract(source.encode(), reference=True)
    assert source.split("\n")[found.line - 1].startswith("def double")


@pytest.mark.parametrize("module", [inspect, json, textwrap, gzip, pytest], ids=lambda module: module.__name__)
@pytest.mark.parametrize("mode", [True, False], ids=["reference", "fixed"])
def test_scanning_and_slicing_give_what_parsing_the_whole_file_gives(module, mode):
    source = inspect.getsource(module).encode()
    assert list(extract(source, reference=mode)) == list(extraction._from_file(source, mode))


@given(st.text(alphabet="def f(x):\n\t \"'#\\[]{}@ar\r\f", max_size=200))
def test_no_text_breaks_the_scan(text):
    source = text.encode()
    list(extract(source, reference=False))
    lexer.returns_value(lexer.as_array(source))


@pytest.mark.parametrize(
    "source",
    [
        'x = """never closed\n' + DOUBLE,
        "x = (1,\n" + DOUBLE,
        "x = 'never closed\n" + DOUBLE,
        DOUBLE + "\n\x0cdef g(x):\n    pass\n",
        "x = 1)\n" + DOUBLE,
    ],
)
def test_an_unbalanced_file_is_parsed_whole(source):
    data = source.encode()
    assert list(extract(data, reference=True)) == list(extraction._from_file(data, True))


HOSTILE = {
    "nul": (b"x = 1\0\n" + DOUBLE.encode(), "nul_bytes"),
    "latin": (b"# caf\xe9\n" + DOUBLE.encode(), "invalid_utf8"),
    "huge": (b"x = 1\n" * 1_000_000, "too_large"),
    "empty": (b"", "no_documented_function"),
    "undocumented": (b"def f():\n    return 1\n", "no_documented_function"),
    "missing": (None, "no_content"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_without_functions_says_why(name):
    content, reason = HOSTILE[name]
    file = SourceFile(content, "r", "p", "", "no_content" if content is None else "")
    assert functions_of(file, reference=False, max_file_mb=5) == ([], reason)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "source",
    [
        b"x = '" + b"a" * 10_000_000 + b"'\n" + DOUBLE.encode(),
        b"x = " + b"[" * 100_000 + b"]" * 100_000 + b"\n" + DOUBLE.encode(),
        b"x = " + b"(" * 100_000 + b"\n" + DOUBLE.encode(),
        b'def f(x):\n    """Doc."""\n    return ' + b"(" * 50_000 + b"x" + b")" * 50_000 + b"\n\n\n" + DOUBLE.encode(),
        b"\t\x0c\t" * 1_000_000 + b"\n" + DOUBLE.encode(),
        b"print 'Python 2'\nexec 'code'\n" + DOUBLE.encode(),
    ],
    ids=["10 MB line", "deep", "deep and open", "deep function", "form feeds", "Python 2"],
)
@pytest.mark.slow
def test_a_hostile_file_costs_no_neighbour(source, tmp_path):
    shard = write_shard(tmp_path / "s.parquet", [("a", "1.py", DOUBLE.encode()), ("a", "2.py", source)], binary=True)
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    main(str(shard), **places, columns=Columns(), settings=ExtractFunctions(max_file_mb=50))
    rows = list(read_rows(places["functions"]))
    assert rows[0]["content"] == DOUBLE
    assert rows[0]["path"] == "1.py"
    funnel = json.loads(places["funnel"].read_text())
    assert funnel["entered"] == 2 == funnel["kept"] + sum(funnel["dropped"].values())


def test_rows_say_where_a_function_came_from(tmp_path):
    shard = write_shard(tmp_path / "s.parquet", [("org/repo", "pkg/a.py", f"import re\n\n{DOUBLE}\n")])
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    main(str(shard), **places, columns=Columns(), settings=ExtractFunctions())
    (row,) = read_rows(places["functions"])
    assert (row["repo"], row["path"], row["line"], row["licence"]) == ("org/repo", "pkg/a.py", 3, "MIT")


def test_any_jsonl_with_a_content_column_works(tmp_path):
    lines = [
        json.dumps({"text": DOUBLE, "n": 1}),
        "not json",
        "[1]",
        json.dumps({"text": None}),
        json.dumps({"text": 3}),
    ]
    for path in (tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"):
        data = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        files = list(read_files(str(path), Columns(content_column="text")))
        assert [file.problem for file in files] == ["", "broken_row", "broken_row", "no_content", "no_content"]
        assert files[0].content == DOUBLE.encode()


def test_a_broken_shard_is_an_error_that_names_it(tmp_path):
    good = write_shard(tmp_path / "good.parquet", [("a", "1.py", DOUBLE * 50)] * 200)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(good.read_bytes()[:-50])
    scrambled = tmp_path / "scrambled.parquet"
    data = bytearray(good.read_bytes())
    data[4:400] = bytes(396)
    scrambled.write_bytes(data)
    for path in (torn, scrambled, tmp_path / "absent.parquet"):
        with pytest.raises(UserError, match=path.name):
            list(read_files(str(path), Columns()))
    with pytest.raises(UserError, match="no column 'text'"):
        list(read_files(str(good), Columns(content_column="text")))
    zipped = tmp_path / "torn.jsonl.gz"
    zipped.write_bytes(gzip.compress(b'{"content": "x"}\n' * 1000)[:-20])
    with pytest.raises(UserError, match=zipped.name):
        list(read_files(str(zipped), Columns()))


def test_a_gated_dataset_without_a_token_says_what_to_do(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(self, path, *args, **kwargs):
        answer = types.SimpleNamespace(status_code=403, headers={}, request=None)
        raise GatedRepoError("Access to dataset is restricted", response=answer)

    monkeypatch.setattr(huggingface_hub.HfFileSystem, "open", refuse)
    with pytest.raises(UserError, match="HF_TOKEN"):
        list(read_files("hf://datasets/bigcode/the-stack-dedup@main/data/python/a.parquet", Columns()))


def stored(content: object = DOUBLE, number: int = 0, **more: object) -> dict[str, object]:
    return {"content": content, "max_stars_repo_name": "r", "max_stars_repo_path": f"{number}.py"} | more


LINES = "\n".join(json.dumps(stored(number=number)) for number in range(2)).encode()
TABLE = pa.table({"content": [DOUBLE, DOUBLE], "max_stars_repo_path": ["0.py", "1.py"]})


def packed(kind: str, data: bytes = LINES) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, kind) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def tabled(kind: str, table: pa.Table = TABLE) -> bytes:
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, sink)
        return sink.getvalue().to_pybytes()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


READ = {
    "plain.jsonl": LINES,
    "mark.jsonl": b"\xef\xbb\xbf" + LINES,
    "utf16.jsonl": LINES.decode().encode("utf-16"),
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "gzip-named.jsonl": gzip.compress(LINES),
    "plain-named.jsonl.gz": LINES,
    "no-name": gzip.compress(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "a.jsonl.zst": packed("zstd"),
    "a.jsonl.lz4": packed("lz4"),
    "array.json": json.dumps([stored(), stored(number=1)]).encode(),
    "pretty.json": b"\n" + json.dumps([stored(), stored(number=1)], indent=2).encode(),
    "array.json.zst": packed("zstd", json.dumps([stored(), stored(number=1)]).encode()),
    "parquet.json": tabled("parquet"),
    "arrow.parquet": tabled("file"),
    "a.arrow": tabled("stream"),
    "a.feather": tabled("file"),
}


@pytest.mark.parametrize("name", READ)
def test_a_shard_is_read_by_its_content_whatever_its_name(name, tmp_path):
    (tmp_path / name).write_bytes(READ[name])
    files = list(read_files(str(tmp_path / name), Columns()))
    assert [(file.content, file.path) for file in files] == [(DOUBLE.encode(), "0.py"), (DOUBLE.encode(), "1.py")]


REFUSED = {
    "a.zip": (b"PK\x03\x04" + bytes(100), "ZIP archive; unpack it"),
    "a.csv": (b"content\nx\n", "of a format that is not read"),
    "page.parquet": (b"<!DOCTYPE html><html>", "a page of HTML"),
    "pointer.parquet": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "a.tar": (b"a" * 257 + b"ustar" + bytes(250), "tar archive"),
    "text.jsonl": (b"one\ntwo\n", "2 broken_row of 2 rows"),
    "text.jsonl.zst": (packed("zstd", b"one\ntwo\n"), "of a format that is not read"),
    "object.json": (json.dumps(stored(), indent=2).encode(), "nothing that can be read"),
    "objects.jsonl": (json.dumps(stored({"text": DOUBLE})).encode(), "must hold text"),
    "lists.jsonl": (json.dumps(stored([DOUBLE])).encode(), "must hold text"),
    "nulls.parquet": (tabled("parquet", pa.table({"content": pa.array([None], pa.string())})), "1 no_content of 1"),
    "struct.parquet": (tabled("parquet", pa.table({"content": [{"text": DOUBLE}]})), "holds struct"),
    "lists.arrow": (tabled("stream", pa.table({"content": [[DOUBLE]]})), "holds list"),
    "numbers.parquet": (tabled("parquet", pa.table({"content": [1]})), "holds int64"),
    "torn.json": (json.dumps([stored()]).encode()[:-5], "is broken"),
    "torn.jsonl.bz2": (bz2.compress(LINES)[:-9], "is broken"),
    "torn.jsonl.zst": (packed("zstd", LINES * 9)[:-9], "is broken"),
    "torn.arrow": (tabled("file")[:-60], "is broken"),
    "empty.jsonl": (b"", "has no rows"),
    "other.jsonl": (b'{"text": "x"}\n{"n": 1}', "no column 'content'; it has n, text"),
    "parquet.gz": (gzip.compress(tabled("parquet")), "decompress it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named_in_a_sentence(name, tmp_path):
    data, said = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        list(read_files(str(tmp_path / name), Columns()))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("first", [{"n": 1}, {}, {"content": None}, {"content": 3}, {"max_stars_repo_path": "a"}])
def test_a_key_may_be_absent_from_any_row(first, tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(stored())}\n{json.dumps(first)}")
    files = list(read_files(str(tmp_path / "a.jsonl"), Columns()))
    assert [file.problem for file in files] == ["no_content", "", "no_content"]


def bad(*values: bytes) -> pa.Array:
    """Make a column of text that is not UTF-8."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


@pytest.mark.parametrize(
    "columns",
    [
        {"max_stars_repo_licenses": pa.ListArray.from_arrays([0, 1, 2], bad(b"\xff", b"MIT"))},
        {"max_stars_repo_licenses": bad(b"\xff", b"MIT").dictionary_encode()},
        {"max_stars_repo_licenses": pa.StructArray.from_arrays([bad(b"\xff", b"MIT")], names=["name"])},
        {"max_stars_repo_path": bad(b"\xff", b"a.py"), "max_stars_repo_name": bad(b"\xfe", b"r")},
        {"max_stars_repo_licenses": bad(b"\xff", b"MIT").cast(pa.binary()).cast(pa.large_binary())},
    ],
    ids=["list", "dictionary", "struct", "text", "bytes"],
)
def test_invalid_utf8_beside_the_content_loses_no_file(columns, tmp_path):
    (tmp_path / "a.parquet").write_bytes(tabled("parquet", pa.table({"content": [DOUBLE, DOUBLE], **columns})))
    files = list(read_files(str(tmp_path / "a.parquet"), Columns()))
    assert [file.content for file in files] == [DOUBLE.encode()] * 2
    assert "\ufffd" in files[0].licence + files[0].path
    assert "\ufffd" not in files[1].licence + files[1].path


@pytest.mark.parametrize("kind", ["plain", "dictionary", "large"])
def test_invalid_utf8_in_the_content_sets_one_file_aside(kind, tmp_path):
    column = bad(b"# \xff", DOUBLE.encode())
    column = column.dictionary_encode() if kind == "dictionary" else column
    column = column.cast(pa.binary()).cast(pa.large_binary()) if kind == "large" else column
    (tmp_path / "a.parquet").write_bytes(tabled("parquet", pa.table({"content": column})))
    files = list(read_files(str(tmp_path / "a.parquet"), Columns()))
    assert [functions_of(file, reference=False, max_file_mb=1)[1] for file in files] == ["invalid_utf8", ""]


@pytest.mark.parametrize(
    ("address", "revision", "path"),
    [
        ("org/name/a/b.parquet", "main", "a/b.parquet"),
        ("org/name@v1.0/a.parquet", "v1.0", "a.parquet"),
        (
            "org/name@refs/convert/parquet/default/train/0000.parquet",
            "refs/convert/parquet",
            "default/train/0000.parquet",
        ),
        ("org/name@refs%2Fconvert%2Fparquet/default/0000.parquet", "refs/convert/parquet", "default/0000.parquet"),
        ("org/name@refs/pr/12/data/a.parquet", "refs/pr/12", "data/a.parquet"),
        ("org/name@refs%2Fpr%2F12/a.parquet", "refs/pr/12", "a.parquet"),
        ("org/name@feature%2Fx/a.parquet", "feature/x", "a.parquet"),
    ],
)
def test_addresses_are_split_as_the_hub_does(address, revision, path):
    assert hub_file(f"hf://datasets/{address}") == ("org/name", revision, path)


@pytest.mark.parametrize("name", ["part [1].jsonl", "a?.jsonl", "a*.jsonl", "[ab].jsonl", "a[!b]c.jsonl"])
def test_a_file_whose_name_has_characters_of_globs_is_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).write_bytes(LINES)
    (tmp_path / "ab.jsonl").write_bytes(LINES)
    for written in (name, str(tmp_path / name), f"~/{name}"):
        (shard,) = config.raw_shards(config.load({"data": {"raw_shards": [written]}}))
        assert len(list(read_files(shard, Columns()))) == 2


@pytest.mark.parametrize(
    "written",
    [
        {"model": {"base": "~/toy"}},
        {"judge_seeds": {"prompts": "~/toy"}},
        {"prompts": {"template": "~/toy"}},
        {"train_sft": {"deepspeed": "~/toy"}},
        {"other_models": {"x": {"model": "~/toy"}}},
    ],
)
def test_a_tilde_is_the_home_folder_for_all_jobs(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "toy").mkdir()
    found = config.located(config.load({"data": {"raw_shards": ["results/x.parquet"]}, **written}), tmp_path)
    assert str(tmp_path / "toy") in found.model_dump_json()
    assert "~/" not in found.model_dump_json()
