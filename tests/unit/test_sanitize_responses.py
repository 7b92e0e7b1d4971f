"""Every rule of form, with what it keeps and what it drops, in both modes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.sanitize_responses import draft_of, main, why_dropped
from selfcodealign.config.dataset import SanitizeResponses
from selfcodealign.dataset import sanitizing
from selfcodealign.dataset.fences import blocks, python_code, reference_blocks, reference_python_blocks, unfenced
from selfcodealign.dataset.sanitizing import Draft, rules
from selfcodealign.rows import ResponseRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.dataset_rows import GOOD_RESPONSE, GOOD_TESTS, raw_of, response_row

FIXED = rules("fixed", max_words=200)
REFERENCE = rules("reference", max_words=200)


def reason(mode: str, **columns) -> str | None:
    """Name the rule that a row breaks in a mode."""
    broken = why_dropped(draft_of(response_row(**columns)), rules(mode, max_words=200))
    return broken[0] if broken else None


def in_block(code: str, tag: str = "python") -> str:
    return f"```{tag}\n{code}\n```"


def test_both_modes_keep_a_good_response_and_split_it():
    for ordered in (FIXED, REFERENCE):
        draft = draft_of(response_row())
        assert why_dropped(draft, ordered) is None
        assert (draft.response, draft.tests) == (GOOD_RESPONSE, GOOD_TESTS)


@pytest.mark.parametrize(
    ("finish_reason", "fixed", "reference"),
    [
        ("stop", None, None),
        ("eos_token", None, None),
        ("length", "unfinished", "unfinished"),
        ("", "unfinished", "unfinished"),
    ],
)
def test_a_response_that_was_cut_off_is_dropped(finish_reason, fixed, reference):
    assert reason("fixed", finish_reason=finish_reason) == fixed
    assert reason("reference", finish_reason=finish_reason) == reference


SPLITS = [
    # raw, fixed, reference
    (raw_of(), None, None),
    (f"{GOOD_RESPONSE}\n</response>\n<tests>\n{GOOD_TESTS}", None, "not_split"),
    (raw_of().replace("\n", "\r\n"), None, "not_split"),
    (raw_of() + "</tests>\n\n## Example 3\nmore", None, None),
    (f"<response>\n{raw_of()}", None, None),
    (f"{GOOD_RESPONSE}\n\n### Tests\n{GOOD_TESTS}", None, "not_split"),
    (GOOD_RESPONSE, "not_split", "not_split"),
    (raw_of() + raw_of(), "not_split", "not_split"),
    ("</response>\n\n<tests>\n" + GOOD_TESTS, "not_split", "no_python_block"),
    ("", "not_split", "not_split"),
]


@pytest.mark.parametrize(("raw", "fixed", "reference"), SPLITS)
def test_a_response_needs_one_border_to_its_tests(raw, fixed, reference):
    assert reason("fixed", raw=raw) == fixed
    assert reason("reference", raw=raw) == reference


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ("R\n### Tests 2\nT", ("R", "T")),
        ("R\n### Tests 12\nT", None),  # One digit only.
        ("R\n### Tests 1\nT\n### Tests 2\nU", None),
        ("R. We can verify the functionality so.", ("R.", "We can verify the functionality so.")),
        (
            "R. Now, we'll test it. We can verify the functionality.",
            ("R. Now, we'll test it.", "We can verify the functionality."),
        ),
        ("R without any of the phrases", None),
    ],
)
def test_the_reference_splits_the_heading_layout_at_a_heading_or_the_first_listed_phrase(raw, parts):
    draft = Draft("do it", raw, layout="headings")
    assert (sanitizing.reference_not_split(draft) is None) == (parts is not None)
    if parts:
        assert (draft.response, draft.tests) == parts


def test_the_layout_is_read_from_the_template():
    raw = f"{GOOD_RESPONSE}\n\n### Tests 2\n{GOOD_TESTS}"
    assert reason("reference", raw=raw, template="headings@1") is None
    assert reason("reference", raw=raw, template="xml@1") == "not_split"
    assert reason("fixed", raw=raw, template="headings@1") is None


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_starcoder2_sections_are_split_and_their_names_left_out(mode):
    code = "```python\ndef f(x):\n    return x\n```"
    raw = f"[Reasoning]\nIt is easy.\n\n[Implementation]\n{code}\n\n[Explanation]\nDone.\n\n[Tests]\n{GOOD_TESTS}"
    draft = draft_of(response_row(raw=raw, template="starcoder2-instruct@1"))
    assert why_dropped(draft, rules(mode, max_words=200)) is None
    assert draft.response == f"It is easy.\n\n{code}\n\nDone."
    assert draft.tests == GOOD_TESTS


TODO_CODE = (
    "class TodoList:\n    # Todo entries are kept in order\n    def add(self, todo):\n        self.items = [todo]"
)
ABSTRACT = (
    "from abc import ABC, abstractmethod\nclass Shape(ABC):\n    @abstractmethod\n"
    "    def area(self):\n        raise NotImplementedError\n"
    "class Square(Shape):\n    def area(self):\n        return 1"
)
BASE = (
    "class Shape:\n    def area(self):\n        raise NotImplementedError()\n"
    "class Square(Shape):\n    def area(self):\n        return 1"
)
MARKERS = [
    # code of the response, fixed, reference
    (TODO_CODE, None, "incomplete_marker"),
    (ABSTRACT, None, "incomplete_marker"),
    (BASE, None, "incomplete_marker"),
    ("def mastodon(x):\n    return x", None, "incomplete_marker"),  # "todo" inside a word
    ("def f(x):\n    # TODO: the rest\n    return x", "incomplete_marker", "incomplete_marker"),
    ("def f(x):\n    # todo: the rest\n    return x", "incomplete_marker", "incomplete_marker"),
    ("def f(x):\n    # FIXME\n    return x", "incomplete_marker", "incomplete_marker"),
    ("def f(x):\n    # Your code goes here\n    pass", "incomplete_marker", "incomplete_marker"),
    ("def f(x):\n    # add your implementation here\n    pass", "incomplete_marker", None),
    ("def f(x):\n    raise NotImplementedError", "incomplete_marker", "incomplete_marker"),
    ('def f(x):\n    """Halve."""\n    ...', "incomplete_marker", None),
    ("class Shape:\n    def area(self):\n        raise NotImplementedError", "incomplete_marker", "incomplete_marker"),
    ("x = '# TODO: not a comment'", None, "incomplete_marker"),
]


@pytest.mark.parametrize(("code", "fixed", "reference"), MARKERS)
def test_unfinished_code_is_dropped_but_todo_lists_are_not(code, fixed, reference):
    raw = raw_of(in_block(code))
    assert reason("fixed", raw=raw) == fixed
    assert reason("reference", raw=raw) == reference


BLOCKS = [
    # response, tests, fixed, reference
    ("no code at all", GOOD_TESTS, "no_python_block", "no_python_block"),
    (GOOD_RESPONSE, "assert it works", "no_python_block", "no_python_block"),
    (in_block("f = 1", ""), GOOD_TESTS, "no_python_block", "no_python_block"),
    (in_block("f = 1", "Python"), GOOD_TESTS, None, None),
    (in_block("f = 1", "py"), GOOD_TESTS, None, "no_python_block"),
    ("~~~python\nf = 1\n~~~", GOOD_TESTS, None, "no_python_block"),
    ("````python\nf = '''\n```\n'''\n````", GOOD_TESTS, None, "no_python_block"),
    ("```python\nf = 1", GOOD_TESTS, "no_python_block", "no_python_block"),
    (f"{GOOD_RESPONSE}\n\n```python\ng = 2", GOOD_TESTS, "no_python_block", None),
    (in_block("   "), GOOD_TESTS, "no_python_block", None),
]


@pytest.mark.parametrize(("response", "tests", "fixed", "reference"), BLOCKS)
def test_both_parts_need_a_closed_python_block(response, tests, fixed, reference):
    raw = raw_of(response, tests)
    assert reason("fixed", raw=raw) == fixed
    assert reason("reference", raw=raw) == reference


ASSERTIONS = [
    # code of the tests, fixed, reference
    ("assert f(1) == 2", None, None),
    ("print(f(1))", "no_assertion", "no_assertion"),
    ("# assert nothing\nprint(1)", "no_assertion", None),  # The reference looks for the word anywhere.
    ("def test_f():\n    assert f(1) == 2", None, "no_assertion"),  # Our sandbox calls tests that nobody calls.
    ("def test_f():\n    assert f(1) == 2\n\ntest_f()", None, None),
    ("default = 1\nassert default", None, None),
    ("default = f(1)\nclassify = 2\nif True:\n    assert 1", None, None),
    ("default = f(1)\nwhile_(1)\nclassify = 2", "no_assertion", "no_assertion"),
    (
        "import pytest\nfrom pytest import raises\ndef test_f():\n    with raises(ValueError):\n        f(0)",
        None,
        "no_assertion",
    ),
    (
        "import unittest\nclass TestF(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 2)\n"
        "unittest.main()",
        None,
        None,
    ),
    ("import numpy as np\nnp.testing.assert_allclose(f(1), 2)", None, None),
    ("    # assert\n", "no_assertion", "no_assertion"),
]


@pytest.mark.parametrize(("code", "fixed", "reference"), ASSERTIONS)
def test_tests_must_assert_something(code, fixed, reference):
    raw = raw_of(tests=in_block(code))
    assert reason("fixed", raw=raw) == fixed
    assert reason("reference", raw=raw) == reference


def test_lines_that_begin_like_a_definition_count_as_one_for_the_reference():
    """`default = …` begins with "def" and `classify(…)` with "class"."""
    tests = in_block("default = f(1)\nclassify(default)  # assert")
    assert sanitizing.reference_no_assertion(Draft("", "", tests=tests)) == "only definitions"


@pytest.mark.parametrize(
    ("response", "tests", "fixed"),
    [
        (in_block("def f(:"), GOOD_TESTS, "syntax_error"),
        (GOOD_RESPONSE, in_block("assert f(1) = 2"), "syntax_error"),
        (f"{GOOD_RESPONSE}\n\n```\noutput: 3 items\n```", GOOD_TESTS, None),  # Other tags are no code.
        (f"{GOOD_RESPONSE}\n\n```bash\npip install x\n```", GOOD_TESTS, None),
    ],
)
def test_code_must_parse(response, tests, fixed):
    assert reason("fixed", raw=raw_of(response, tests)) == fixed
    assert reason("reference", raw=raw_of(response, tests)) is None, "the reference checks this in its selection"


@pytest.mark.parametrize(("words", "fixed"), [(200, None), (201, "instruction_too_long")])
def test_long_instructions_are_dropped(words, fixed):
    assert reason("fixed", instruction="word " * words) == fixed
    assert reason("reference", instruction="word " * words) is None, "the reference checks this in its selection"


@pytest.mark.parametrize(
    "raw",
    [
        raw_of() + "\ud800",
        raw_of() + "\0",
        raw_of(in_block("x = '" + "a" * 1_000_000 + "'")),
        raw_of(in_block("x = " + "(" * 5_000 + ")" * 5_000)),
        raw_of(in_block("x = " + "-" * 50_000 + "1")),
        "```" * 30_000,
        "`" * 90_000,
    ],
    ids=["surrogate", "nul", "1 MB line", "deep nesting", "deep unary", "many fences", "one long fence"],
)
def test_hostile_text_is_dropped_without_a_crash(raw):
    assert reason("fixed", raw=raw)
    reason("reference", raw=raw)


FENCES = [
    # text, blocks by CommonMark, blocks by the reference's scanner
    ("```python\na\n```", [("python", "a")], [("python", "a\n")]),
    ("```python\r\na\r\n```", [("python", "a")], [("python", "a\r\n")]),
    ("~~~py\na\n~~~", [("py", "a")], []),
    ("````python\n```\na\n```\n````", [("python", "```\na\n```")], [("`python", ""), ("", "\n")]),
    ("```python\nx = '```'\ny\n```", [("python", "x = '```'\ny")], [("python", "x = '")]),
    (
        "- item\n\n  ```python\n  def f():\n      pass\n  ```",
        [("python", "def f():\n    pass")],
        [("python", "  def f():\n      pass\n  ")],
    ),
    ('```python\n"""\n    ```\n    a\n    ```\n"""\n```', [("python", '"""\n    ```\n    a\n    ```\n"""')], None),
    ("```\na\n```", [("", "a")], [("", "\na\n")]),
    ("``` {.python title=x}\na\n```", [("python", "a")], None),
    ("inline ```a``` and ```python\nb\n```", [("", "")], None),
    ("```python\na", [("python", "a")], []),
    ("```python", [("python", "")], []),
]


@pytest.mark.parametrize(("text", "commonmark", "scanned"), FENCES)
def test_fences_are_found(text, commonmark, scanned):
    assert [(block.tag, block.code) for block in blocks(text)] == commonmark
    if scanned is not None:
        assert [(block.tag, block.code) for block in reference_blocks(text)] == scanned


def test_an_unclosed_fence_says_so_and_is_no_code():
    (block,) = blocks("```python\na")
    assert not block.closed
    assert python_code("```python\na") == ""
    assert reference_python_blocks("```python\na") == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Tests:\n```python\nassert f(1)\n```", "assert f(1)"),
        ("~~~python\nassert f(1)\n~~~\n", "assert f(1)"),
        ("assert f(1)\n", "assert f(1)\n"),
        ("assert f('```') == '~~~'", "assert f('```') == '~~~'"),
        ("```\nno Python\n```", ""),
        ("```text\nno Python\n```", ""),
        ("```python\nassert f(1)", ""),
    ],
    ids=["fenced", "tildes", "bare", "fences_in_a_string", "no_tag", "another_tag", "unclosed"],
)
def test_code_of_a_text_that_may_have_no_fences(text, code):
    assert unfenced(text) == code


def test_rows_and_reasons_are_written_and_conserved(tmp_path):
    given = [
        response_row(0),
        response_row(1, raw="nothing"),
        response_row(2, instruction="word " * 300),
        response_row(3, finish_reason="length"),
    ]
    source = tmp_path / "responses.parquet"
    write_rows(source, ResponseRow, given)
    outputs = [tmp_path / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    main(source, *outputs, settings=SanitizeResponses())
    (kept,) = read_rows(tmp_path / "rows.parquet")
    assert kept == given[0] | {"response": GOOD_RESPONSE, "tests": GOOD_TESTS}
    dropped = list(read_rows(tmp_path / "dropped.parquet"))
    assert [row["reason"] for row in dropped] == ["not_split", "instruction_too_long", "unfinished"]
    assert dropped[1]["detail"] == "300 words"


CODE_LINE = st.text(st.characters(blacklist_characters="`~\r\n", blacklist_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["python", "py", "text", ""]), st.lists(CODE_LINE, max_size=4)), max_size=4))
def test_blocks_that_are_written_are_found_again(given_blocks):
    text = "\n\n".join(
        f"Words.\n```{tag}\n" + "".join(f"{line}\n" for line in lines) + "```" for tag, lines in given_blocks
    )
    assert [(block.tag, block.code) for block in blocks(text)] == [
        (tag, "\n".join(lines)) for tag, lines in given_blocks
    ]
    assert all(block.closed for block in blocks(text))


@given(st.text(st.sampled_from("`~ \n\r#pabc<>/{}"), max_size=60), st.sampled_from([FIXED, REFERENCE]))
def test_no_text_crashes_a_rule(raw, ordered):
    why_dropped(Draft("Do it.", raw_of(raw, raw)), ordered)
    why_dropped(Draft("Do it.", raw, layout="headings"), ordered)


TAGS = [
    # tags that name Python, and tags that do not
    *(
        (tag, True)
        for tag in ("python:solution.py", "python3.11", "Python 3.11", "python[add.py]", "{.python .numbers}")
    ),
    *(
        (tag, True)
        for tag in ("python-3.11", 'python title="add.py"', "python,ignore", "py:src/add.py", "python#L1-L5")
    ),
    *(
        (tag, True)
        for tag in ("solution.py", "src/solution.py", "file: solution.py", "python(add.py)", "PYTHON3", "ipython3")
    ),
    *(
        (tag, False)
        for tag in ("", "pycon", "python-repl", "python2", "pytb", "text", "bash run.py", "json", "python+html")
    ),
]


@pytest.mark.parametrize(("tag", "python"), TAGS)
def test_whatever_stands_behind_the_language_of_a_fence_it_is_python(tag, python):
    assert reason("fixed", raw=raw_of(in_block("f = 1", tag))) == (None if python else "no_python_block")
    assert reason("reference", raw=raw_of(in_block("f = 1", tag))) == "no_python_block" if tag else True


HEADINGS, TAGGED, SECTIONS = "selfcodealign-headings@x", "selfcodealign@x", "starcoder2@x"
ADD, CHECK = "def add(a, b):\n    return a + b", "assert add(1, 2) == 3"
TEXTS_IN_CODE = [
    # template, response, border, tests: a border or an end inside a block is code
    (
        HEADINGS,
        in_block(ADD),
        "\n\n### Tests\n",
        in_block(f"### Test 1: small numbers\n{CHECK}\n### Test 2: zero\n{CHECK}"),
    ),
    (HEADINGS, in_block(f'DOC = """\n### Tests\n"""\n{ADD}'), "\n\n### Tests\n", in_block(CHECK)),
    (HEADINGS, in_block(f'DOC = """\n### Test\n```\nx\n```\n"""\n{ADD}'), "\n\n### Tests\n", in_block(CHECK)),
    (HEADINGS, f"{in_block('### Tests', 'markdown')}\n\n{in_block(ADD)}", "\n\n### Tests\n", in_block(CHECK)),
    (HEADINGS, in_block(f"### Test helpers\n{ADD}"), "\n\n### Test\n", in_block(f"### Tests\n{CHECK}")),
    (HEADINGS, in_block(f"END = '</tests>'\n{ADD}"), "\n\n### Tests\n", in_block(CHECK)),
    (HEADINGS, in_block(f"BORDER = '''</response>\n<tests>'''\n{ADD}"), "\n\n### Tests\n", in_block(CHECK)),
    (TAGGED, in_block(f"{ADD}\nOPEN, END = '<tests>', '</tests>'"), "\n</response>\n\n<tests>\n", in_block(CHECK)),
    (TAGGED, in_block(ADD), "\n</response>\n\n<tests>\n", in_block(f"{CHECK}\nassert '</tests>' != '<tests>'")),
    (TAGGED, in_block(f'{ADD}\nHTML = """\n</tests>\n"""'), "\n</response>\n\n<tests>\n", in_block(CHECK)),
    (TAGGED, in_block(f'{ADD}\nXML = """\n</response>\n\n<tests>\n"""'), "\n</response>\n\n<tests>\n", in_block(CHECK)),
    (TAGGED, in_block(f"{ADD}\n# closes </tests>"), "\n</response>\n\n<tests>\n", in_block(f"# </tests>\n{CHECK}")),
    (SECTIONS, in_block(f'{ADD}\nDOC = """\n[Tests]\n[Explanation]\n"""'), "\n\n[Tests]\n", in_block(CHECK)),
]


@pytest.mark.parametrize(("template", "response", "border", "tests"), TEXTS_IN_CODE)
@pytest.mark.parametrize(
    "end", ["", "\n</tests>", "\n</tests>\n\n### Tests\nmore", "\n</tests>\n<response>\n</response>\n<tests>"]
)
def test_what_stands_in_code_divides_nothing(template, response, border, tests, end):
    draft = draft_of(response_row(raw=response + border + tests + end, template=template))
    assert why_dropped(draft, FIXED) is None
    assert (draft.response, draft.tests) == (response, tests)


def test_a_fence_left_open_takes_in_no_border():
    raw = f"```python\n{ADD}\n</response>\n\n<tests>\n{in_block(CHECK)}\n</tests>"
    assert reason("fixed", raw=raw) == "no_python_block"
    assert (
        reason("fixed", raw=f"{in_block(ADD)}\n### Tests\n{in_block(CHECK)}\n### Tests\n", template=HEADINGS)
        == "not_split"
    )


LEFT_OUT = [
    "# ... existing code ...",
    "# ... other methods remain unchanged ...",
    "# ...",
    "# …",
    "# [...]",
    "# rest of the code",
    "# Rest of the code remains the same",
    "# ... rest of the Calculator class",
    "# Implementation omitted for brevity",
    "# details skipped for simplicity",
    "# (same as before)",
    "# same as above",
    "# existing methods here",
    "# ... previous code ...",
    "# ... (rest of the file)",
    "# other functions stay as is",
    "# rest of your methods here",
    "# code goes here",
    "# implementation unchanged",
    "# Keep the rest of the code the same",
    "# ... implementation ...",
    "# implementation here",
    "# <snip>",
    "# [omitted]",
    "# fill in the rest",
    "# Fill in the implementation",
    "# remaining methods as above",
]
SAID = [
    "# ... and so on",
    "# ...then swap the two",
    "# the rest of the function handles zero",
    "# process the rest of the list",
    "# the rest of the code points are skipped",
    "# Process the remaining elements...",
    "# the list is left unchanged",
    "# same as above but for y",
    "# Test the other methods",
    "# Check that the original list is unchanged",
    "# Other edge cases",
    "# 1, 2, 3, ...",
    '# "..." means everything',
    "# Existing user",
    "# use the same function for both",
    "# Additional tests",
    "# fill in missing values",
    "# Fill the remaining cells with zeros",
    "# the implementation is in C",
    "# here the code is checked",
    "# Add more test cases as needed",
]


@pytest.mark.parametrize(("comment", "left_out"), [*((it, True) for it in LEFT_OUT), *((it, False) for it in SAID)])
def test_a_comment_that_stands_for_code_is_no_code(comment, left_out):
    for code in (f"{comment}\n{ADD}", f"class A:\n    def f(self):\n        return 1\n\n    {comment}\n\n{ADD}"):
        assert reason("fixed", raw=raw_of(in_block(code), in_block(CHECK))) == (
            "incomplete_marker" if left_out else None
        )
        assert reason("reference", raw=raw_of(in_block(code), in_block(CHECK))) is None
    assert reason("fixed", raw=raw_of(in_block(f"TEXT = '{comment}'".replace('"', "") + f"\n{ADD}"))) is None
