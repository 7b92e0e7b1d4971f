import hashlib
from collections import Counter
from pathlib import Path

import pytest

from selfcodealign.errors import UserError
from selfcodealign.generation.attributes import Drawer, repeated, weighted
from selfcodealign.generation.prompts import load_template
from selfcodealign.ids import rng_for
from selfcodealign.sandbox import Settings, run_cases
from tests.conftest import ROOT
from tests.fences import blocks
from tests.published import EXAMPLES, published

PROMPTS = ROOT / "prompts"
SEED = 'def inchesToMeters(inches):\n    """Convert inches to meters."""\n    return inches * 0.0254'
CONCEPTS = "unit conversion, arithmetic operations"
INSTRUCTION = "Write a Python function to convert inches to meters."
CATEGORIES = {"function implementation": 2, "class implementation": 1, "program implementation": 1}
DIFFICULTIES = {"easy": 1, "medium": 1, "hard": 1}

# First 16 hex digits of the sha256 of the reference's prompts, and their lengths, by line number; made by running the
# reference's code on its own examples file.
GOLDEN = {
    "S->C": {
        0: ("321be484c7d63e73", 4815),
        1: ("38b064e062f4c0af", 5100),
        2: ("a75b6f1890543296", 5256),
        249_999: ("cd136ad9a52ce1d3", 4696),
    },
    "C->I": {
        0: ("bb864fd317f82f81", 6709),
        1: ("9fef03b49005aa7f", 6359),
        2: ("2f11fb181c8c223a", 7129),
        249_999: ("eba089947e23035e", 6852),
    },
    "I->R": {
        0: ("29eb449b1dd8e5b5", 3140),
        1: ("b9c9761ddeaff526", 2469),
        2: ("29eb449b1dd8e5b5", 3140),
        249_999: ("65389163dab99c3f", 2763),
    },
    "S->I": {
        0: ("f5963959185f618f", 8790),
        1: ("47268569bf1093c9", 9296),
        2: ("4044c7f594eacc2c", 8748),
        249_999: ("c99af03cff25d7fc", 7852),
    },
}


def reference_prompt(template, mode, index):
    """Render the prompt of the golden inputs at a line number, as the reference draws."""
    asks = mode == "C->I"
    drawer = Drawer(
        stage="any",
        run_seed=3407,
        reference=True,
        examples=len(template.examples),
        few_shots=1 if mode == "I->R" else 8,
        categories=CATEGORIES if asks else None,
        difficulties=DIFFICULTIES if asks else None,
    )
    draw = drawer.draw("any", index)
    fields = {
        "S->C": {"code": SEED},
        "S->I": {"code": SEED},
        "I->R": {"instruction": INSTRUCTION},
        "C->I": {
            "category": draw.category,
            "language": "Python",
            "difficulty": draw.difficulty,
            "concepts": CONCEPTS,
        },
    }
    return template.render(mode, draw.examples, **fields[mode])


@pytest.fixture(scope="module")
def paper():
    return load_template(PROMPTS / "selfcodealign.yaml", published(EXAMPLES))


@pytest.mark.parametrize(
    ("mode", "index", "wanted"),
    [(mode, index, wanted) for mode, by_index in GOLDEN.items() for index, wanted in by_index.items()],
)
def test_the_papers_examples_render_to_the_papers_prompts(paper, mode, index, wanted):
    prompt = reference_prompt(paper, mode, index)
    assert (hashlib.sha256(prompt.encode()).hexdigest()[:16], len(prompt)) == wanted


def test_the_papers_examples_also_render_under_headings():
    path = published(EXAMPLES)
    template = load_template(PROMPTS / "selfcodealign-headings.yaml", path)
    prompt = template.render("I->R", (3, 1), instruction="Do it.")
    third, first = template.examples[2].fields, template.examples[0].fields
    assert prompt == (
        template.systems["I->R"]
        + " Write the answer of every example in two sections, headed ### Response and ### Tests.\n\n"
        + f"## Example 1\n### Instruction 1 \n{third['instruction']}\n\n### Response 1\n{third['response']}\n\n"
        + f"### Tests 1\n{third['tests']}\n\n"
        + f"## Example 2\n### Instruction 2 \n{first['instruction']}\n\n### Response 2\n{first['response']}\n\n"
        + f"### Tests 2\n{first['tests']}\n\n"
        + "## Example 3\n### Instruction 3 \nDo it.\n\n### Response 3"
    )


def test_a_snippet_keeps_its_first_indentation(paper):
    assert paper.examples[0].fields["code"].startswith("    value = ")


@pytest.mark.parametrize("mode", ["S->C", "C->I", "I->R", "S->I"])
def test_our_own_examples_render_in_every_mode(mode):
    template = load_template(PROMPTS / "selfcodealign.yaml")
    prompt = reference_prompt(template, mode, 5)
    ends = {"S->C": "### Concepts", "C->I": "### Task", "I->R": "<response>", "S->I": "### Task"}
    assert prompt.endswith(ends[mode])
    assert prompt.startswith(template.systems[mode])


def test_our_examples_have_the_papers_mixture():
    examples = load_template(PROMPTS / "selfcodealign.yaml").examples
    assert len(examples) == 21
    assert Counter(example.fields["category"] for example in examples) == {
        "function implementation": 15,
        "program implementation": 4,
        "class implementation": 2,
    }
    assert Counter(example.fields["difficulty"] for example in examples) == {"medium": 11, "easy": 9, "hard": 1}
    assert all(2 <= len(example.concepts) <= 5 for example in examples)
    assert all(5 <= example.fields["code"].count("\n") + 1 <= 21 for example in examples)
    assert all(45 <= len(example.fields["instruction"].split()) <= 152 for example in examples)
    assert all(58 <= len(example.fields["response"].split()) <= 305 for example in examples)
    for example in examples:
        assert len(blocks(example.fields["response"])) == len(blocks(example.fields["tests"])) == 1
        assert 1 <= example.fields["tests"].count("assert ") <= 16
    programs = [example.fields["response"] for example in examples[17:]]
    assert all('if __name__ == "__main__":' in program for program in programs)


def test_the_examples_of_all_templates_are_ours_and_not_the_papers():
    theirs = published(EXAMPLES).read_text()
    lines = {line.strip() for line in theirs.splitlines() if len(line.strip()) > 40}
    for name in ("selfcodealign.txt", "smollm2.txt", "starcoder2-instruct.txt", "judge.txt"):
        ours = {line.strip() for line in (PROMPTS / name).read_text().splitlines()}
        assert not lines & ours


def example_cases():
    """Yield the sandbox's case of every example that we wrote."""
    for name in ("selfcodealign", "starcoder2-instruct"):
        for example in load_template(PROMPTS / f"{name}.yaml").examples:
            code, *_, tests = blocks(example.fields["response"]) + blocks(example.fields.get("tests", ""))
            yield {"id": f"{name}-{example.number}", "code": code, "test": tests}


def test_the_tests_of_every_example_pass_in_the_sandbox_and_can_fail():
    cases = list(example_cases())
    assert len(cases) == 21 + 16
    verdicts = {found["id"]: (found["verdict"], found["reason"]) for found in run_cases(cases, Settings(vacuous=True))}
    assert verdicts.keys() == {case["id"] for case in cases}
    assert {name: found for name, found in verdicts.items() if found[0] != "pass"} == {}


def test_the_first_version_has_its_own_sections_order_and_parts():
    template = load_template(PROMPTS / "starcoder2-instruct.yaml")
    assert len(template.examples) == 16
    prompt = template.render("C->I", (2,), category="a", language="b", concepts="c", difficulty="d")
    assert prompt.endswith(
        "## Example 2\n### Property\ncategory: a\nlanguage: b\nconcepts: c\ndifficulty: d\n\n### Instruction"
    )
    shot = template.render("I->R", (1,), instruction="Do it.")
    parts = ["[Reasoning]", "[Implementation]", "[Explanation]", "[Tests]"]
    places = [shot.index(part) for part in parts]
    assert places == sorted(places)
    assert "[Solution]" not in shot
    assert shot.endswith("## Example 2\n### Instruction\nDo it.\n\n### Response")
    assert template.stop("I->R", reference=True) == ["## Example"]
    with pytest.raises(UserError, match=r"no mode S->I"):
        template.render("S->I", (1,), code="x")


def test_an_answer_with_a_heading_about_an_example_is_cut_only_in_reference_mode():
    template = load_template(PROMPTS / "selfcodealign.yaml")
    answer = "Text.\n\n### Example usage\n\nMore.\n\n## Example 3\n"
    fixed = min(answer.find(stop) for stop in template.stop("S->C"))
    reference = min(answer.find(stop) for stop in template.stop("S->C", reference=True))
    assert answer[:fixed].endswith("More.\n")
    assert answer[:reference].endswith("Text.\n\n#")


def small_file(**parts):
    """Return a small examples file with one part replaced."""
    defaults = {
        "systems": "".join(f"### System: {mode}\nText of {mode}.\n\n" for mode in ("I->R", "C->I", "S->C", "S->I")),
        "code": "[Code]\ndef f():\n    return 1\n\n",
        "property": "[Property]\ncategory: c\nlanguage: Python\ndifficulty: easy\nconcepts: a,b ,  c\n\n",
        "instruction": "[Instruction]\nDo.\n\n",
        "response": "[Response]\nDone.\n\n",
        "tests": "[Tests]\nassert True\n",
    }
    merged = defaults | parts
    return merged["systems"] + "### Example 1\n" + "".join(merged[name] for name in list(defaults)[1:])


def load_small(tmp_path: Path, text: str):
    path = tmp_path / "examples.txt"
    path.write_text(text)
    return load_template(PROMPTS / "selfcodealign.yaml", path)


def test_concepts_are_divided_and_joined_uniformly(tmp_path):
    assert load_small(tmp_path, small_file()).examples[0].fields["concepts"] == "a, b, c"


def test_braces_in_code_and_answers_are_no_placeholders(tmp_path):
    template = load_small(tmp_path, small_file(code="[Code]\nx = {number}\n\n"))
    prompt = template.render("S->C", (1,), code="y = {code} {0}")
    assert "x = {number}" in prompt
    assert "y = {code} {0}" in prompt


@pytest.mark.parametrize(
    ("part", "text", "sentence"),
    [
        ("systems", "### System: I->R\nText\n\n", r"must begin with the headings ### System: I->R, ### System: C->I"),
        (
            "systems",
            "".join(f"### System: {mode}\n\n" for mode in ("I->R", "C->I", "S->C", "S->I")),
            r"the system text under ### System: I->R is empty",
        ),
        ("code", "", r"example 1 must have the sections \[Code\], \[Property\]"),
        ("code", "Words first\n[Code]\nx\n\n", r"example 1 must have the sections"),
        ("instruction", "[Instruction]\n\n", r"example 1: section \[Instruction\] is empty"),
        ("property", "[Property]\ncategory: c\n\n", r"\[Property\] must have the lines category, language"),
        (
            "property",
            "[Property]\ncategory: c\nlanguage: Python\nconcepts: a\ndifficulty: easy\n\n",
            r"it has category, language, concepts, difficulty",
        ),
        ("response", "[Response]\nA\n[Response]\nB\n", r"it has \[Code\], .*\[Response\], \[Response\]"),
    ],
)
def test_a_malformed_examples_file_is_named_with_what_is_wrong(tmp_path, part, text, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        load_small(tmp_path, small_file(**{part: text}))
    assert "examples.txt" in str(error.value)


def test_a_file_without_examples_or_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match="has no example"):
        load_small(tmp_path, small_file().partition("### Example")[0])
    with pytest.raises(UserError, match=r"nowhere\.txt does not exist"):
        load_template(PROMPTS / "selfcodealign.yaml", tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "not valid YAML"),
        ("name: x\n", "examples: Field required"),
        ("just words", "Input should be a valid dictionary"),
    ],
)
def test_a_malformed_template_is_named_with_what_is_wrong(tmp_path, text, sentence):
    path = tmp_path / "template.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as error:
        load_template(path)
    assert "template.yaml" in str(error.value)


def test_an_unknown_placeholder_is_named(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text((PROMPTS / "selfcodealign.yaml").read_text().replace("{instruction}", "{question}"))
    with pytest.raises(UserError, match=r"the placeholder \{question\}; known: category, code, concepts"):
        load_template(path)


def drawer(**settings):
    defaults = {
        "stage": "write_instructions",
        "run_seed": 1,
        "reference": False,
        "examples": 21,
        "few_shots": 8,
        "categories": CATEGORIES,
        "difficulties": DIFFICULTIES,
    }
    return Drawer(**defaults | settings)


def test_a_fixed_draw_depends_on_the_id_alone():
    assert drawer().draw("con-1", 0) == drawer().draw("con-1", 99)
    assert drawer().draw("con-1", 0) != drawer().draw("con-2", 0)
    assert drawer().draw("con-1", 0) != drawer(run_seed=2).draw("con-1", 0)


def test_a_reference_draw_depends_on_the_line_number_alone():
    reference = drawer(reference=True)
    assert reference.draw("con-1", 7) == reference.draw("con-2", 7)
    assert reference.draw("con-1", 7) != reference.draw("con-1", 8)


def test_rows_share_as_many_sets_of_examples_as_asked_for_and_every_example_is_used():
    draws = {drawer(example_sets=5).draw(f"con-{number}", 0).examples for number in range(300)}
    assert len(draws) == 5
    assert all(len(set(examples)) == 8 for examples in draws)
    many = {drawer(example_sets=64).draw(f"con-{number}", 0).examples for number in range(2000)}
    assert {number for examples in many for number in examples} == set(range(1, 22))


def test_weights_are_followed_and_their_order_does_not_matter():
    counts = Counter(drawer().draw(f"con-{number}", 0).category for number in range(4000))
    assert counts["function implementation"] == pytest.approx(2000, abs=150)
    assert counts["class implementation"] == pytest.approx(1000, abs=150)
    backwards = dict(reversed(CATEGORIES.items()))
    assert weighted(rng_for(1, "s", "x"), CATEGORIES) == weighted(rng_for(1, "s", "x"), backwards)


def test_reference_mode_needs_whole_weights():
    assert repeated(CATEGORIES, "s") == ["function implementation"] * 2 + [
        "class implementation",
        "program implementation",
    ]
    with pytest.raises(UserError, match="whole numbers"):
        repeated({"easy": 0.5}, "write_instructions")


def test_more_few_shots_than_examples_are_refused():
    with pytest.raises(UserError, match="few_shots is 22, but the prompt file has 21 examples"):
        drawer(few_shots=22)


def test_every_sample_has_a_seed_of_its_own():
    fixed, reference = drawer(), drawer(reference=True, run_seed=3407)
    assert len({fixed.sampling_seed("ins-1", 0, sample) for sample in range(10)}) == 10
    assert fixed.sampling_seed("ins-1", 0, 3) == fixed.sampling_seed("ins-1", 50, 3)
    assert reference.sampling_seed("ins-1", 5, 0) == 3412
    assert len({reference.sampling_seed("ins-1", 5, sample) for sample in range(10)}) == 10
