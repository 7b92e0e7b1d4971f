"""Functions are cut out exactly as they stand, and every file without any says why."""

import ast
import gzip
import inspect
import json
import textwrap
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.extract_functions import functions_of, main
from selfcodealign.errors import UserError
from selfcodealign.rows_io import read_rows
from selfcodealign.seeds import extraction, lexer
from selfcodealign.seeds.extraction import extract
from selfcodealign.seeds.raw import Columns, SourceFile, read_files
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
def test_a_hostile_file_costs_no_neighbour(source, tmp_path):
    shard = write_shard(tmp_path / "s.parquet", [("a", "1.py", DOUBLE.encode()), ("a", "2.py", source)], binary=True)
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    main(str(shard), **places, max_file_mb=50)
    rows = list(read_rows(places["functions"]))
    assert rows[0]["content"] == DOUBLE
    assert rows[0]["path"] == "1.py"
    funnel = json.loads(places["funnel"].read_text())
    assert funnel["entered"] == 2 == funnel["kept"] + sum(funnel["dropped"].values())


def test_rows_say_where_a_function_came_from(tmp_path):
    shard = write_shard(tmp_path / "s.parquet", [("org/repo", "pkg/a.py", f"import re\n\n{DOUBLE}\n")])
    places = outputs(tmp_path, "extract_functions", 0, "functions")
    main(str(shard), **places)
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
        files = list(read_files(str(path), Columns(content="text")))
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
        list(read_files(str(good), Columns(content="text")))
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
