"""Rows for the tests of the dataset stages: plausible by default, every column open to change."""

from typing import Any

from selfcodealign.dataset import code
from selfcodealign.ids import content_id

SAMPLED = {
    "model": "demo/model",
    "revision": "sha256:0f1e2d3c",
    "template": "xml@1a2b3c4d",
    "examples": [3],
    "temperature": 0.7,
    "top_p": 1.0,
    "max_tokens": 512,
    "seed": 7,
    "tokens_in": 240,
    "tokens_out": 60,
    "reasoning": "",
}

GOOD_RESPONSE = "Slicing does it.\n\n```python\ndef last_two(items):\n    return items[-2:]\n```"
GOOD_TESTS = "```python\nassert last_two([1, 2, 3]) == [2, 3]\nassert last_two([]) == []\n```"


def raw_of(response: str = GOOD_RESPONSE, tests: str = GOOD_TESTS) -> str:
    """Lay a response and tests out as the model writes them."""
    return f"{response}\n</response>\n\n<tests>\n{tests}\n"


def response_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make a generated response; `number` tells rows apart."""
    instruction_id = columns.get("instruction_id", content_id("ins", number))
    sample = columns.get("sample", 0)
    return {
        "id": content_id("res", instruction_id, sample, number),
        "instruction_id": instruction_id,
        "seed_id": content_id("seed", number),
        "concept_id": content_id("con", number),
        "instruction": f"Write a function that returns the last {number + 2} items of a list.",
        "concepts": ["slicing"],
        "category": "function implementation",
        "difficulty": "easy",
        "language": "Python",
        "sample": sample,
        "raw": raw_of(),
        "response": None,
        "tests": None,
        "finish_reason": "stop",
        **SAMPLED,
        **columns,
    }


def verdict_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make an executed response; its verdict follows `passed` unless given."""
    passed = columns.get("passed", True)
    own = {name: columns[name] for name in ("instruction_id", "sample") if name in columns}
    return {
        **response_row(number, **own),
        "response": f"```python\ndef last_{number}(items):\n    return items[-{number}:]\n```",
        "tests": f"```python\nassert last_{number}([]) == []\n```",
        "verdict": "pass" if passed else "fail",
        "passed": passed,
        "reason": "" if passed else "AssertionError",
        "stdout": "",
        "stderr": "",
        "cpu_s": 0.01,
        "wall_s": 0.02,
        "memory_mb": 20.0,
        "isolation": "bubblewrap",
        "assertions_held": None,
        "assertions_run": None,
        "mutation_score": None,
        **columns,
    }


def selected_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make a chosen response."""
    verdict = verdict_row(number)
    response = columns.get("response", verdict["response"])
    names = (
        *("instruction", "response", "tests", "instruction_id", "concept_id", "seed_id", "category", "difficulty"),
        *("concepts", "model", "revision", "passed", "verdict", "mutation_score"),
    )
    return {
        **{name: verdict[name] for name in names},
        "id": content_id("row", verdict["id"]),
        "response_id": verdict["id"],
        "code_representation": code.representation(response) or "",
        "pass_rate": 0.5,
        **columns,
    }


def seed_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make the seed that `verdict_row(number)` grew from."""
    return {
        "id": content_id("seed", number),
        "function_id": content_id("fn", number),
        "content": "def f(items):\n    return items",
        "imports": [],
        "repo": f"someone/lists-{number % 3}",
        "path": "src/lists.py",
        "line": 1,
        "licence": ("MIT", "Apache-2.0")[number % 2],
        "judge_score": 1.0,
        **columns,
    }


def instruction_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make the instruction that `response_row(number)` answers."""
    response = response_row(number)
    names = ("concept_id", "seed_id", "instruction", "concepts", "category", "difficulty", "language")
    return {
        **{name: response[name] for name in names},
        **SAMPLED,
        "id": response["instruction_id"],
        **columns,
    }
