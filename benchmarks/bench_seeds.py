"""Seed stages against the published method, in one run on one core: `python benchmarks/bench_seeds.py [--shard FILE]`.

The published method is written out here as plainly as its scripts have it: the whole file parsed and queried; MinHash
by regular expressions, SHA-1 and numpy; autoimport (skipped where it is not installed); pyright on batches of 250
without a check of names; a dataset filtered row by row, with one `in` per benchmark string and two parses. Times are
CPU seconds of this process and its children.

Without --shard the corpus is a shard of test data if there is one, else the standard library of this Python. The part
of it that is measured is small, so that all takes about two minutes; --files sets it.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import pickle
import random
import re
import resource
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import history
from scripts.infer_imports import imports_of
from selfcodealign import clusters
from selfcodealign.clusters import RankedUnionFind, survivors
from selfcodealign.config.seeds import Columns, FilterSeeds
from selfcodealign.decontamination import ReferenceIndex, index_for, reference_passages
from selfcodealign.minhash import MinHasher
from selfcodealign.rows_io import write_json
from selfcodealign.seeds import filters, lexer, names, typecheck
from selfcodealign.seeds.extraction import extract
from selfcodealign.seeds.raw import SourceFile, read_files

if TYPE_CHECKING:
    import datasets

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SELFCODEALIGN_TEST_DATA", Path(__file__).parents[2] / "shared"))
QUERY = """
(function_definition
  name: (identifier)
  body: (block . (expression_statement (string (string_start) @open (string_content) (string_end) @close))
    (#eq? @open "\\"\\"\\"") (#eq? @close "\\"\\"\\""))) @function
"""


def cpu_s() -> float:
    """Return the CPU seconds of this process and its finished children."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in usage)


def timed(task: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """Return a task's result and the least CPU seconds it took."""
    best = float("inf")
    result = None
    for _ in range(repeats):
        started = cpu_s()
        result = task()
        best = min(best, cpu_s() - started)
    return result, best


def corpus(shards: list[Path], limit: int) -> list[SourceFile]:
    """Read source files: those of shards, or the standard library's."""
    default = SHARED / "data/stack/data-00000-of-00008.parquet"
    if not shards and default.is_file():
        shards = [default]
    if shards:
        files = [file for shard in shards for file in read_files(str(shard), Columns()) if file.content is not None]
    else:
        folder = Path(sysconfig.get_paths()["stdlib"])
        paths = sorted(path for path in folder.rglob("*.py") if "site-packages" not in path.parts)
        files = [SourceFile(path.read_bytes(), "cpython", str(path.relative_to(folder)), "PSF-2.0") for path in paths]
    # A sample spread over the whole: neighbours come from one project.
    random.Random(0).shuffle(files)
    return files[:limit]


# ---- the published method -------------------------------------------------------------------------------------------


def extract_as_published(files: "datasets.Dataset") -> set[str]:
    """Take files row by row, pickle them to and from a worker, parse and query each, keep what starts a line."""
    import tree_sitter
    import tree_sitter_python

    language = tree_sitter.Language(tree_sitter_python.language())
    parser = tree_sitter.Parser(language)
    query = tree_sitter.Query(language, QUERY)
    found = set()
    for row in files:
        content = pickle.loads(pickle.dumps(row))["content"].encode()
        tree = parser.parse(content)
        for node in tree_sitter.QueryCursor(query).captures(tree.root_node).get("function", []):
            if node.start_point[1] == 0:
                found.add(pickle.loads(pickle.dumps(content[node.start_byte : node.end_byte].decode())))
    return found


def deduplicate_as_published(texts: list[str], bands: int = 41, rows: int = 6) -> int:
    """Hash with numpy and SHA-1, keep signatures as a column, fill one table per band, join by rank (text-dedup).

    Returns:
        How many texts survive.
    """
    import datasets

    random_state = np.random.RandomState(42)
    prime = np.uint64((1 << 61) - 1)
    a = random_state.randint(1, (1 << 61) - 1, 250, dtype=np.uint64)
    b = random_state.randint(0, (1 << 61) - 1, 250, dtype=np.uint64)
    highest = np.uint64(0xFFFFFFFF)

    def embed(row: dict[str, str], number: int) -> dict[str, Any]:
        tokens = re.split(r"\W", row["content"].lower())
        runs = zip(*(tokens[k:] for k in range(5)), strict=False)
        shingles = {bytes(" ".join(run).lower(), "utf-8") for run in runs}
        digests = [struct.unpack("<I", hashlib.sha1(shingle).digest()[:4])[0] for shingle in shingles]
        hashes = np.array(digests, dtype=np.uint64).reshape(-1, 1)
        values = (hashes * a + b) % prime & highest
        values = np.vstack([values, np.full(250, highest)]).min(axis=0)
        ranges = [(band * rows, (band + 1) * rows) for band in range(bands)]
        return {"signature": [bytes(values[low:high].byteswap().data) for low, high in ranges], "number": number}

    data: Any = datasets.Dataset.from_dict({"content": texts})
    data = data.map(embed, with_indices=True, remove_columns=["content"], load_from_cache_file=False)
    tables: list[dict[bytes, set[int]]] = [defaultdict(set) for _ in range(bands)]
    for row in data:
        for key, table in zip(row["signature"], tables, strict=True):
            table[key].add(row["number"])
    forest = RankedUnionFind()
    for table in tables:
        for members in table.values():
            for member in members:
                forest.union(member, min(members))
    return sum(forest.find(number) == number for number in range(len(texts)))


def typecheck_as_published(texts: list[str], python: str) -> set[str]:
    """Run pyright on batches of 250 with readable output; return the texts in files without errors."""
    checker = typecheck.Pyright(python)
    command = [typecheck.node(), str(checker.script), "--pythonpath", checker.python]
    passed = set()
    for start in range(0, len(texts), 250):
        with tempfile.TemporaryDirectory() as folder:
            files = {hashlib.sha1(text.encode()).hexdigest(): text for text in texts[start : start + 250]}
            for name, text in files.items():
                (Path(folder) / f"{name}.py").write_text(text)
            arguments = [*command, *(f"{name}.py" for name in files)]
            said = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False).stdout
            wrong = {Path(line.split(":")[0].strip()).stem for line in said.splitlines() if "- error:" in line}
            passed |= {text for name, text in files.items() if name not in wrong}
    return passed


def filter_as_published(texts: list[str], passages: list[str]) -> list[str]:
    """Filter a dataset row by row: bad words, each benchmark string, lines, a new parser for `return`, a second parse.

    Returns:
        The texts that are kept.
    """
    import datasets
    import tree_sitter
    import tree_sitter_python

    language = tree_sitter.Language(tree_sitter_python.language())
    returns = tree_sitter.Query(language, "(return_statement) @return")
    blocks = tree_sitter.Query(language, "(function_definition body: (block) @block)")
    shared = tree_sitter.Parser(language)

    def kept(row: dict[str, str]) -> bool:
        code = row["content"]
        lower = code.lower()
        if any(word in lower for word in filters.REFERENCE_WORDS) or any(passage in code for passage in passages):
            return False
        lines = code.split("\n")
        if len(lines) > 150 or any(line.startswith("def ") and "():" in line for line in lines):
            return False
        tree = tree_sitter.Parser(language).parse(code.encode())
        found = tree_sitter.QueryCursor(returns).captures(tree.root_node).get("return", [])
        if not any(len(node.children) > 1 for node in found):
            return False
        tree = shared.parse(code.encode())
        block = min(tree_sitter.QueryCursor(blocks).captures(tree.root_node)["block"], key=lambda node: node.start_byte)
        docstring = block.children[0].children[0].text
        return docstring is not None and (docstring.startswith(b'"""') or docstring.endswith(b'"""'))

    data = datasets.Dataset.from_dict({"content": texts})
    return data.filter(kept, load_from_cache_file=False)["content"]


# ---- measurements ---------------------------------------------------------------------------------------------------


def measure_extraction(files: list[SourceFile]) -> tuple[list[str], dict[str, float]]:
    """Compare extraction in reference mode, where both must give the same functions; return the fixed mode's."""
    import datasets

    contents = [file.content or b"" for file in files]
    megabytes = sum(map(len, contents)) / 1e6
    list(extract(b'def f(x):\n    """Doc."""\n', reference=True))
    rows = [{"content": (f.content or b"").decode(), "repo": f.repo, "path": f.path} for f in files]
    data = datasets.Dataset.from_list(rows)
    theirs, slow = timed(lambda: extract_as_published(data))
    ours, fast = timed(lambda: {f.content for content in contents for f in extract(content, reference=True)}, 2)
    functions, fixed = timed(lambda: [f.content for content in contents for f in extract(content, reference=False)], 2)
    return functions, {
        "megabytes": megabytes,
        "published_mb_s": megabytes / slow,
        "mb_s": megabytes / fast,
        "fixed_mode_mb_s": megabytes / fixed,
        "ratio": slow / fast,
        "functions_that_differ": len(theirs ^ ours),
    }


PUBLISHED_COMPARED = 4_000
"""Functions that are deduplicated by the published method."""


def measure_deduplication(functions: list[str], published: int) -> tuple[list[str], dict[str, float]]:
    """Compare near-deduplication per function; the published method sees a part, recall all pairs of one."""
    hasher = MinHasher(permutations=300, bands=60, rows=5)
    survivors(functions[:50] * 2, hasher, threshold=0.5)
    deduplicate_as_published(functions[:20])
    part = functions[:PUBLISHED_COMPARED]
    _, slow = timed(lambda: deduplicate_as_published(part))
    chosen, fast = timed(lambda: survivors(functions, hasher, threshold=0.5), 2)
    kept = [text for number, text in enumerate(functions) if chosen[number] == number]
    return kept, {
        "functions": len(functions),
        "published_functions_s": len(part) / slow,
        "functions_s": len(functions) / fast,
        "ratio": slow / len(part) * len(functions) / fast,
        **recall(functions[:published], hasher),
    }


def recall(texts: list[str], hasher: MinHasher) -> dict[str, float]:
    """Compare candidates with all pairs: the share of alike pairs that are candidates, and removals without a cause."""
    unique = list(dict.fromkeys(texts))
    sets = [hasher.shingles(text) for text in unique]
    keys = np.array([hasher.keys(text) for text in unique])
    alike = []
    for i, one in enumerate(sets):
        for j in range(i + 1, len(sets)):
            small, large = sorted((len(one), len(sets[j])))
            if small and 2 * small >= large:
                common = clusters.overlap(one, sets[j])
                if 2 * common >= small + large - common:
                    alike.append((i, j))
    chosen = survivors(unique, hasher, threshold=0.5)
    near = {number for pair in alike for number in pair}
    removed = [number for number in range(len(unique)) if chosen[number] != number]
    found = sum(bool((keys[i] == keys[j]).any()) for i, j in alike)
    return {
        "alike_pairs": len(alike),
        "recall_of_pairs": found / max(1, len(alike)),
        "precision": sum(number in near for number in removed) / max(1, len(removed)),
    }


def measure_names(functions: list[str], published: int) -> tuple[list[str], dict[str, float]]:
    """Compare the inference of imports with autoimport; return the functions that go on, imports added."""
    returning = [text for text in functions if lexer.returns_value(lexer.as_array(text.encode()))]
    imports_of(returning[0])
    results, fast = timed(lambda: [imports_of(text) for text in functions], 2)
    ready = [
        names.with_imports(text, resolved.statements)
        for text, (resolved, reason, _) in zip(functions, results, strict=True)
        if not reason
    ]
    figures: dict[str, float] = {
        "functions": len(functions),
        "returning": len(returning),
        "cpu_ms_each": 1e3 * fast / len(functions),
    }
    if importlib.util.find_spec("autoimport"):
        from autoimport import fix_code  # pyright: ignore[reportMissingImports]

        def fix(text: str) -> str:
            try:
                return fix_code(text)
            except Exception:  # The published script keeps the text then.
                return text

        part = returning[:published]
        fix(part[0])
        _, slow = timed(lambda: [fix(text) for text in part])
        figures["published_cpu_ms_each"] = 1e3 * slow / len(part)
        figures["ratio"] = slow / len(part) / (fast / len(functions))
    else:
        print("autoimport is not installed (pip install autoimport==1.6.1): imports have no baseline", file=sys.stderr)
    return ready, figures


PUBLISHED_CHECKED = 1_500
"""Functions that pyright checks by the published method, in batches of 250."""


def measure_typecheck(functions: list[str], ready: list[str], count: int, python: str) -> dict[str, float]:
    """Compare pyright per function that entered the seed stages: batches of 250 of all, or one batch of the named."""
    share = len(ready) / len(functions)
    checked = ready[:count]
    entering = len(checked) / share
    verdicts, fast = timed(lambda: typecheck.Pyright(python).check({str(n): text for n, text in enumerate(checked)}))
    # As after autoimport: what can be imported is, whether or not other names stay undefined.
    returning = [text for text in functions if lexer.returns_value(lexer.as_array(text.encode()))]
    count_returning = len(returning)
    # Several batches: which large libraries 250 functions import doubles or halves their time.
    returning = [names.with_imports(text, known_imports(text)) for text in returning[:PUBLISHED_CHECKED]]
    _, slow = timed(lambda: typecheck_as_published(returning, python))
    return {
        "checked": len(checked),
        "share_that_is_checked": share,
        "cpu_s_per_1000_checked": 1e3 * fast / len(checked),
        "cpu_s_per_1000_entering": 1e3 * fast / entering,
        "published_cpu_s_per_1000_checked": 1e3 * slow / len(returning),
        "cpu_s_per_1000_returning": 1e3 * fast / len(checked) * len(ready) / count_returning,
        # The published method checks all that return a value.
        "ratio": slow / len(returning) / (fast / len(checked) * len(ready) / count_returning),
        "share_that_passes": sum(verdict.passed for verdict in verdicts.values()) / len(checked),
    }


def known_imports(text: str) -> list[str]:
    """Return the imports that a function needs as far as they are known."""
    try:
        return names.resolve(text).statements
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def measure_filters(ready: list[str]) -> dict[str, float]:
    """Compare filters and decontamination on the functions that reach them."""
    files = {
        name: path
        for name, path in {
            "humaneval": SHARED / "bench/HumanEval.jsonl.gz",
            "mbpp": SHARED / "bench/sanitized-mbpp.json",
        }.items()
        if path.is_file()
    }
    if not files:
        print(f"no benchmark files in {SHARED}: decontamination is not measured", file=sys.stderr)
        return {}
    sought = reference_passages(files, "seeds")
    passages = [passage.text for found in sought.values() for passage in found]
    filter_as_published(ready[:20], passages)
    index = index_for(files, mode="fixed", stage="seeds")
    index.search(ready[0])
    _, slow = timed(lambda: filter_as_published(ready, passages))
    _, fast = timed(lambda: [filters.why_dropped(text, FilterSeeds()) for text in ready], 3)
    _, search = timed(lambda: [index.search(text) for text in ready], 3)
    theirs, scan = timed(lambda: [any(passage in text for passage in passages) for text in ready])
    exact = ReferenceIndex(sought, lower=False)
    ours, automaton = timed(lambda: [bool(exact.search(text)) for text in ready], 2)
    return {
        "functions": len(ready),
        "cpu_ms_each": 1e3 * (fast + search) / len(ready),
        "filters_cpu_ms_each": 1e3 * fast / len(ready),
        "decontamination_cpu_ms_each": 1e3 * search / len(ready),
        "published_cpu_ms_each": 1e3 * slow / len(ready),
        "ratio": slow / (fast + search),
        "ratio_with_the_same_strings": slow / (fast + automaton),
        "ratio_of_decontamination": scan / search,
        "ratio_of_the_same_strings": scan / automaton,
        "functions_that_differ": sum(one != other for one, other in zip(theirs, ours, strict=True)),
    }


def measure_processes(files: list[SourceFile], python: str) -> dict[str, float]:
    """Run the jobs of one shard as they run in a pipeline; return each one's CPU seconds, loading and compiling too."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:

        def job(script: str, outputs: str, *flags: str) -> None:
            places = [word for name in outputs.split() for word in (f"--{name}", at(f"{script}.{name}"))]
            command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *flags, *places]
            _, figures[f"{script}_cpu_s"] = timed(
                lambda: subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=True)
            )

        def at(name: str) -> str:
            return str(Path(folder) / name)

        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        shard = at("shard.jsonl")
        rows = ({"content": (f.content or b"").decode("utf-8", "replace"), "path": f.path} for f in files)
        Path(shard).write_text("".join(json.dumps(row) + "\n" for row in rows))
        found, keys = at("extract_functions.functions"), at("sign_functions.band-keys")
        job("extract_functions", "functions dropped funnel", "--shard", shard, "--path-column", "path")
        job("sign_functions", "band-keys", "--functions", found)
        job("match_functions", "copies matches", "--band-keys", keys, "--group", "0", "--groups", "1")
        copies, matches = at("match_functions.copies"), at("match_functions.matches")
        flags = ("--functions", found, "--band-keys", keys, "--copies", copies, "--matches", matches)
        job("cluster_functions", "clusters short counts", *flags)
        clusters, short = at("cluster_functions.clusters"), at("cluster_functions.short")
        flags = ("--functions", found, "--shard", "0", "--band-keys", keys, "--clusters", clusters, "--short", short)
        job("dedup_functions", "kept dropped funnel", *flags)
        job("infer_imports", "seeds dropped funnel", "--functions", at("dedup_functions.kept"))
        flags = ("--seeds", at("infer_imports.seeds"), "--python", python)
        job("typecheck_functions", "kept dropped funnel versions work", *flags)
        job("filter_seeds", "kept dropped funnel", "--seeds", at("typecheck_functions.kept"))
    return figures | {"all_cpu_s": sum(figures.values())}


def measure_chain(figures: dict[str, dict[str, float]], megabytes: float, functions: int) -> dict[str, float]:
    """Add up what a documented function costs from file to seed, by the rates of this run.

    Each step is charged for the functions that enter it here, those of the published method by its own order: it
    checks with pyright whatever returns a value.
    """
    extraction, near = figures["extract_functions"], figures["near-deduplication"]
    imports, check = figures["infer_imports"], figures["typecheck_functions"]
    filtering = figures["filter_seeds, decontaminate_seeds"]
    unique, returning = imports["functions"], imports["returning"]
    ours = {
        "extraction": megabytes / extraction["fixed_mode_mb_s"],
        "near-deduplication": functions / near["functions_s"],
        "imports": unique * imports["cpu_ms_each"] / 1e3,
        "pyright": unique * check["cpu_s_per_1000_entering"] / 1e3,
        "filters": filtering["functions"] * filtering["cpu_ms_each"] / 1e3,
    }
    theirs = {
        "extraction": megabytes / extraction["published_mb_s"],
        "near-deduplication": functions / near["published_functions_s"],
        "imports": returning * imports["published_cpu_ms_each"] / 1e3,
        "pyright": returning * check["published_cpu_s_per_1000_checked"] / 1e3,
        "filters": filtering["functions"] * filtering["published_cpu_ms_each"] / 1e3,
    }
    hours = 5e6 / functions / 3600
    shares = {f"{name}_core_hours": seconds * hours for name, seconds in ours.items()}
    return {
        "functions": functions,
        "published_cpu_s": sum(theirs.values()),
        "cpu_s": sum(ours.values()),
        "ratio": sum(theirs.values()) / sum(ours.values()),
        "published_core_hours_for_5_million": sum(theirs.values()) * hours,
        "core_hours_for_5_million": sum(ours.values()) * hours,
        **shares,
    }


def main() -> None:
    """Measure every stage and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", type=Path, nargs="+", default=[], help="raw shards to measure on")
    parser.add_argument("--files", type=int, default=2_000, help="files of it, drawn at random")
    parser.add_argument("--published", type=int, default=500, help="functions that the slow methods see")
    parser.add_argument("--checked", type=int, default=400, help="functions that pyright sees")
    parser.add_argument("--python", default=sys.executable, help="interpreter whose packages pyright sees, for both")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    history.add_flag(parser)
    options = parser.parse_args()
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    files = corpus(options.shard, options.files)
    figures: dict[str, dict[str, float]] = {}
    functions, figures["extract_functions"] = measure_extraction(files)
    unique, figures["near-deduplication"] = measure_deduplication(functions, options.published)
    ready, figures["infer_imports"] = measure_names(unique, options.published // 4)
    figures["typecheck_functions"] = measure_typecheck(unique, ready, options.checked, options.python)
    figures["filter_seeds, decontaminate_seeds"] = measure_filters(ready)
    if all("ratio" in values for values in figures.values()):
        figures["whole chain"] = measure_chain(figures, figures["extract_functions"]["megabytes"], len(functions))
    figures["whole processes"] = measure_processes(files, options.python)
    for stage, values in figures.items():
        print(stage)
        for name, value in values.items():
            print(f"    {name:36} {value:12.4g}")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"peak memory of a process: {peak / 1e6:.2f} GB")
    history.write(options.history, "seeds", figures)
    if options.output:
        write_json(options.output, figures)
    else:
        print(json.dumps(figures), file=sys.stderr)


if __name__ == "__main__":
    main()
