"""What a benchmark's file holds is kept out of the data, whatever the file's format and whoever's benchmark it is."""

import bz2
import codecs
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from scripts import fetch_benchmark
from scripts.dedup_dataset import near_duplicates
from selfcodealign.config.evaluation import FetchBenchmark
from selfcodealign.decontamination import index_for
from selfcodealign.errors import UserError
from selfcodealign.evaluation import base
from selfcodealign.evaluation.data import kept_out
from selfcodealign.minhash import MinHasher
from tests.published import BY_HAND, SOURCES, is_piece, material, published

HEAD = 'def spell(number):\n    """Spell the number out in words, tens before ones, as a clerk would write it."""\n'
BODY = "    tens, ones = divmod(number, 10)\n    return ' '.join(word for word in (TENS[tens], ONES[ones]) if word)\n"
SENTENCE = "Write a function that spells a number out in words, tens before ones, as a clerk would."
FUNCTION = {"prompt": HEAD, "entry_point": "spell", "canonical_solution": BODY}
EDIT = {"before": HEAD, "after": HEAD + BODY, "tests": "", "taxonomy": {"change_kind": "adaptive", "topic": "x"}}
ASKED = {"instruction_descriptive": SENTENCE, "instruction_lazy": "Spell it as a clerk would, tens before the ones."}
METHOD = {"method_name": "spell", "method_description": HEAD, "solution_code": HEAD + BODY}
CLASS = {
    "skeleton": "class Clerk:\n" + HEAD,
    "test": "",
    "solution_code": "class Clerk:\n" + HEAD + BODY,
    "import_statement": [""],
    "class_name": "Clerk",
    "test_classes": ["T"],
    "class_constructor": "class Clerk:\n",
    "class_description": SENTENCE,
    "methods_info": [METHOD],
}
SCIENCE = {
    "prompt": f"Problem:\n{SENTENCE}\nA:\n<code>\nx = 1\n</code>\nBEGIN SOLUTION\n<code>\n",
    "reference_code": BODY,
    "metadata": {"problem_id": 7, "library": "Pandas"},
    "code_context": "",
}
PRACTICAL = {"complete_prompt": HEAD, "instruct_prompt": SENTENCE, "canonical_solution": BODY, "code_prompt": "x"}
FILES = {
    "demo": {"task_id": "Demo/0", "test": "", **FUNCTION, "instruction": SENTENCE},
    "humaneval": {"task_id": "HumanEval/0", "test": "", **FUNCTION},
    "humaneval_plus": {"task_id": "HumanEval/0", **FUNCTION},  # The Hub's file has no inputs.
    "mbpp": {"task_id": 601, "text": SENTENCE, "code": HEAD + BODY, "test_list": []},  # No task of the test split.
    "mbpp_plus": {"task_id": "Mbpp/2", **FUNCTION},
    "evoeval_creative": {"task_id": "EvoEval/0", **FUNCTION},
    "evalperf": {"task_id": "Mbpp/2", "entry_point": "spell", "reference": [BODY, HEAD + BODY], "scores": [1.0, 2.0]},
    "canitedit": {"full_name": "1_clerk", **EDIT, **ASKED},
    "livecodebench": {"question_id": "a", "question_content": SENTENCE, "public_test_cases": "[]"},
    "classeval": {"task_id": "ClassEval_0", **CLASS},
    "ds1000": SCIENCE,
    "bigcodebench": {"task_id": "BigCodeBench/0", **PRACTICAL, "test": ""},
    "bigcodebench_hard": {"task_id": "BigCodeBench/0", **PRACTICAL, "test": "", "question": SENTENCE},
    "somebody_elses": {
        "nr": 1,
        "aufgabe": {"text": SENTENCE, "antworten": [HEAD + BODY, "short"]},
        "language": "Python",
    },
}


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_arrow(kind):
    def write(path, rows):
        table = pa.Table.from_pylist(rows)
        with kind(path, table.schema) as writer:
            writer.write_table(table)

    return write


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FORMATS = {
    "tasks.parquet": write_parquet,
    "file.arrow": write_arrow(pa.ipc.new_file),
    "stream.arrow": write_arrow(pa.ipc.new_stream),
    "tasks.feather": lambda path, rows: feather.write_feather(pa.Table.from_pylist(rows), path),
    "parquet.jsonl": write_parquet,
    "tasks.jsonl": write_lines,
    "old-mac.jsonl": lambda path, rows: path.write_text("\r".join(json.dumps(row) for row in rows)),
    "windows.jsonl": lambda path, rows: path.write_bytes(b"".join(json.dumps(row).encode() + b"\r\n" for row in rows)),
    "tasks.jsonl.lz4": lambda path, rows: path.write_bytes(
        compressed("\n".join(json.dumps(row) for row in rows).encode(), "lz4")
    ),
    "parquet.zst": lambda path, rows: (
        write_parquet(path, rows),
        path.write_bytes(compressed(path.read_bytes(), "zstd")),
    ),
    "tasks.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "object.json": lambda path, rows: path.write_text(json.dumps({str(n): row for n, row in enumerate(rows)})),
    "tasks.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "gzip.jsonl": lambda path, rows: path.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "tasks.json.bz2": lambda path, rows: path.write_bytes(bz2.compress(json.dumps(rows).encode())),
    "tasks.json.xz": lambda path, rows: path.write_bytes(lzma.compress(json.dumps(rows).encode())),
    "tasks.json.zst": lambda path, rows: path.write_bytes(compressed(json.dumps(rows).encode(), "zstd")),
    "bom.jsonl": lambda path, rows: path.write_bytes(codecs.BOM_UTF8 + json.dumps(rows).encode()),
    "utf16.json": lambda path, rows: path.write_bytes(json.dumps(rows).encode("utf-16")),
}


def compressed(raw: bytes, kind: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, kind) as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


def test_every_benchmark_of_the_registry_is_among_the_examples():
    alike = {name for name in base.names() if name.startswith("evoeval_")}
    assert set(base.names()) - alike <= set(FILES)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("name", FILES)
def test_what_a_file_asks_and_answers_is_found_in_any_format(name, file, tmp_path):
    FORMATS[file](tmp_path / file, [FILES[name], FILES[name]])
    index = index_for({name: tmp_path / file}, mode="fixed", stage="dataset")
    text = json.dumps(FILES[name])
    for passage, searched in ((SENTENCE, f"x {SENTENCE.upper()} y"), (BODY, f"def f(number):\n{BODY}")):
        if passage[10:40] in text:
            hits = index.search(searched)
            assert hits, passage
            assert hits[0].reason == f"in_{name}"
    assert index.search("def other(x):\n    return x + 1\n") == []


@pytest.mark.parametrize("name", ["canitedit", "classeval", "ds1000"])
def test_a_parquet_file_that_was_fetched_is_read_by_every_stage(name, tmp_path):
    write_parquet(tmp_path / "f.parquet", [FILES[name]])
    settings = FetchBenchmark(file=str(tmp_path / "f.parquet"))
    fetch_benchmark.main(name, tmp_path / "p.gz", tmp_path / "about.json", settings=settings)
    assert kept_out(name, tmp_path / "p.gz") == kept_out(name, tmp_path / "f.parquet")
    assert base.get(name).problems(tmp_path / "p.gz")[0].record == FILES[name]


def test_an_entry_under_another_name_is_read_as_its_benchmark(tmp_path):
    write_lines(tmp_path / "f", [FILES["ds1000"]])
    (first, *_) = kept_out("science_at_night:ds1000", tmp_path / "f")
    assert (first.task, first.kind) == ("7", "prompt")
    assert "BEGIN SOLUTION" not in first.text
    index = index_for({"science_at_night:ds1000": tmp_path / "f"}, mode="fixed", stage="seeds")
    assert index.search(SENTENCE)[0].reason == "in_science_at_night"


def test_of_an_unknown_benchmark_what_many_records_share_is_no_passage(tmp_path):
    rules = "Answer with one number and nothing else, whatever the question may be about."
    write_lines(tmp_path / "f", [{"id": n, "system": rules, "question": f"{SENTENCE} {n}"} for n in range(5)])
    assert {passage.text for passage in kept_out("mine", tmp_path / "f")} == {f"{SENTENCE} {n}" for n in range(5)}
    assert {passage.task for passage in kept_out("mine", tmp_path / "f")} == set("01234")


def test_tasks_that_are_never_asked_are_kept_out_too(tmp_path):
    write_lines(tmp_path / "mbpp", [FILES["mbpp"] | {"task_id": number} for number in (1, 11, 601)])
    mbpp = base.get("mbpp")
    assert [problem.id for problem in mbpp.problems(tmp_path / "mbpp")] == ["Mbpp/11"]
    assert {passage.task for passage in kept_out("mbpp", tmp_path / "mbpp")} == {"Mbpp/1", "Mbpp/11", "Mbpp/601"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "line 1 is not JSON"),
        (b"[1, 2]", "record 1 is int, not an object"),
        (b"3", "holds int, not records"),
        (b"", "holds no texts"),
        (b"\x1f\x8b\x00", "damaged gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "damaged zstd"),
        (b"PAR1 and then nothing", "damaged parquet"),
        (b"ARROW1\x00\x00 and then nothing", "damaged Arrow"),
        (b"\xff\xff\xff\xff\x10", "damaged Arrow"),
        (b"\x04\x22\x4d\x18\x00", "damaged lz4"),
        (b"PK\x03\x04 and more", "a ZIP archive; unpack it"),
        (b"SQLite format 3\x00", "a SQLite database"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", "a page of HTML"),
        (b"\xef\xbb\xbf<html>", "a page of HTML"),
        (b"\x80\x04\x95\x00", "a pickle, which is never loaded"),
        (b"\xff\xfe\xfd", "neither parquet nor UTF-8 text"),
        (b'{"a": "\xe9t\xe9"}', "neither parquet nor UTF-8 text"),
        (b'{"other": 1}\n{"other": 2}\n', "holds no texts"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_is_no_benchmark_is_named(content, sentence, tmp_path):
    path = tmp_path / "b.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as error:
        kept_out("mine", path)
    assert str(path) in str(error.value)
    assert "mine" in str(error.value)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"somebody_elses"}))
def test_another_file_under_a_benchmarks_name_is_refused(name, tmp_path):
    write_lines(tmp_path / "f", [{"nr": 1, "aufgabe": SENTENCE}])
    with pytest.raises(UserError, match=f"benchmark {name}: "):
        kept_out(name, tmp_path / "f")


PASSAGES = {
    "HumanEval.jsonl.gz": 497,
    "BigCodeBench-Hard.json.gz": 753,
    "ClassEval_data.json.gz": 1700,
    "canitedit.jsonl.gz": 544,
    "ds1000.jsonl.gz": 2020,
}


@pytest.mark.parametrize("file", SOURCES | BY_HAND)
def test_a_published_file_is_read_by_the_reader_of_its_benchmark(file):
    path = material(f"bench/{file}")
    if not path.is_file():
        path = published(f"bench/{file}")
    name, _ = (SOURCES | BY_HAND)[file]
    found = kept_out(name, path)
    assert {passage.kind for passage in found} == {"prompt", "solution"}
    if file in PASSAGES and not is_piece(path):
        assert len(found) == PASSAGES[file]


UNSPACED = {
    "Chinese": (
        "给定一个整数列表和一个目标值，返回两个不同元素之和中不超过目标值的最大者，"
        "如果不存在则返回负一。请注意列表可能为空，也可能包含重复的元素。"
    ),
    "Japanese": "整数のリストと目標値が与えられ、異なる二つの要素の和で目標値以下の最大を返す。",
    "Thai": "กำหนดรายการของจำนวนเต็มและค่าเป้าหมายให้คืนค่าผลรวมที่มากที่สุดของสมาชิกสองตัวที่ไม่เกินค่าเป้าหมายนั้น",
    "Chinese with English words": "编写Python函数find_pair，接收参数numbers和target，返回和等于target的下标。",
    "Khmer": "សូមសរសេរអនុគមន៍មួយដែលត្រឡប់ផលបូកធំបំផុតនៃធាតុពីរផ្សេងគ្នានៅក្នុងបញ្ជីលេខដែលមិនលើសពីតម្លៃគោលដៅ",
    "short Chinese": "返回列表中出现次数最多的整数，若有多个则返回最小者",
}


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_text_without_spaces_is_found_by_its_characters(text, tmp_path):
    write_lines(tmp_path / "f", [{"task_id": 1, "prompt": text}])
    index = index_for({"mine": tmp_path / "f"}, mode="fixed", stage="dataset")
    found = {hit.how for written in (f"题目：{text}", f"x{text}y") for hit in index.search(written)}
    assert found == {"substring"}
    most = text[: len(text) * 4 // 5]
    assert [hit.how for hit in index.search(f"{most}等等")] == ["ngram"]
    assert index.search("".join(reversed(text))) == []
    assert index.search("写一个函数，计算给定字符串的长度。") == []


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_rows_whose_texts_have_no_spaces_are_compared_by_characters(text):
    hasher = MinHasher()
    others = [
        "写一个函数，计算给定字符串的长度，并返回大写字母的个数。",
        "文字列を逆順にして返す関数を書いてください。",
    ]
    texts = [text, *others, f"{text}好"]
    rows = [{"id": str(n), "instruction_id": str(n), "instruction": it} for n, it in enumerate(texts)]
    assert set(near_duplicates(rows, "instruction", hasher, 0.7)) == {"3"}
