"""What the pages say can be done: links lead somewhere, code parses, and commands know their flags."""

import argparse
import ast
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import selfcodealign
from selfcodealign.__main__ import PASSED_ON, TOOLS
from selfcodealign.config import Config

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
    ROOT / "config" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TARGETS = re.findall(r"^([\w%./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, *kinds: str) -> list[str]:
    """Return the fenced blocks of some kinds, without the indentation of lists."""
    found = BLOCK.findall(page.read_text())
    return [
        "\n".join(line.removeprefix(space) for line in text.split("\n")) for space, kind, text in found if kind in kinds
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as both GitHub and the site make them."""
    prose = BLOCK.sub("", page.read_text())
    heads = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@every_page
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for target, anchor in LINK.findall(BLOCK.sub("", page.read_text())):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


@every_page
def test_every_block_of_code_and_of_settings_can_be_read(page):
    for text in blocks(page, "python"):
        if text.lstrip().startswith(('"', "count_calls:")):
            continue  # Parts of a dictionary and of a class: test_contributing.py puts them where they belong.
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "selfcodealign":
                assert {name.name for name in node.names} <= set(selfcodealign.__all__)
    for text in blocks(page, "toml"):
        tomllib.loads(text)
    for text in blocks(page, "json"):
        for line in text.strip().splitlines():
            json.loads(line)
    for text in blocks(page, "yaml"):
        keys = set(yaml.safe_load(text))
        assert keys <= set(Config.model_fields), f"{page.name}: {keys}"


def commands(page: Path) -> list[list[str]]:
    """Return the commands of a page's shell blocks as words."""
    found = []
    for text in blocks(page, "bash", "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "&&" in words:
                place = words.index("&&")
                found.append(words[:place])
                words = words[place + 1 :]
            found.append(words)
    return [words for words in found if words]


def parser_of(tool: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"selfcodealign.commands.{tool.replace('-', '_')}").add_arguments(parser)
    return parser


@every_page
def test_every_command_knows_its_flags_and_finds_its_files(page):
    for words in commands(page):
        line = " ".join(words)
        after = next((words[place + 1 :] for place, word in enumerate(words) if word == "selfcodealign"), None)
        if after and words[0] != "pip":
            assert after[0] in TOOLS, line
            known = {flag for action in parser_of(after[0])._actions for flag in action.option_strings}
            flags = {word.partition("=")[0] for word in after if word.startswith("--")}
            assert after[0] in PASSED_ON or flags <= known, f"{line}: {flags - known}"
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            # Of the makefile's patterns: .venv-vllm/.ready is one target, .venv-%/.ready any.
            assert {*targets} <= {*TARGETS} or set(targets) <= {".venv-ds1000/.ready", ".venv-classeval/.ready"}, line
        for word in words:
            if re.match(r"(config|profiles|benchmarks|docs|envs|containers)/", word):
                assert (ROOT / word).exists(), line


@pytest.mark.parametrize("tool", TOOLS)
def test_every_flag_of_a_tool_is_explained(tool):
    assert [action.dest for action in parser_of(tool)._actions if not action.help] == []


def test_the_site_has_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    entries = [entry for part in site["nav"] for section in part.values() for entry in section]
    named = {next(iter(entry.values())) if isinstance(entry, dict) else entry for entry in entries}
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    made = {"config.md", "commands.md", "contributing.md", "security.md", "changelog.md"}
    assert named == {page for page in written if not page.startswith("examples/")} | made


def test_the_page_of_the_library_has_every_name_and_extra():
    text = (ROOT / "docs" / "library.md").read_text()
    assert set(re.findall(r"^\| `(\w+)[`(]", text, re.MULTILINE)) >= set(selfcodealign.__all__)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {f"| `{name}` |" for name in extras} <= set(re.findall(r"^\| `\w+` \|", text, re.MULTILINE))
