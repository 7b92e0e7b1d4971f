"""What mkdocs asks for besides the pages of this folder: pages that lie elsewhere, and those made from code.

Pages of the repository keep their places, where people look for them; here they get names of the site, and links
between them are turned to these. The page of commands is made from the parsers themselves.
"""

import argparse
import importlib
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

ELSEWHERE = {
    "config/README.md": "config.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
"""Pages outside this folder, and what they are called on the site."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in this folder."""
    for source, uri in ELSEWHERE.items():
        if uri != "index.md":
            text = relinked((ROOT / source).read_text(encoding="utf-8"), posixpath.dirname(source), uri)
            files.append(File.generated(config, uri, content=text))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page of this folder that lead out of it."""
    if page.file.generated_by:
        return markdown
    uri = page.file.src_uri
    return relinked(markdown, posixpath.dirname(f"docs/{uri}"), uri)


def relinked(markdown: str, folder: str, uri: str) -> str:
    """Turn links between files of the repository to pages of the site; what is no page of it stays as plain text.

    Args:
        markdown: a page.
        folder: where it lies in the repository.
        uri: what it is called on the site.
    """

    def turned(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if not target:
            return match[0]
        place = posixpath.normpath(posixpath.join(folder, target))
        page = ELSEWHERE.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if page is None:
            return text
        return f"[{text}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{anchor})"

    return LINK.sub(turned, markdown)


def commands() -> str:
    """Describe every tool: what it is for, how it is called, and each of its flags."""
    sys.path.insert(0, str(ROOT))  # Here, for mkdocs takes back what a hook adds while it is loaded.
    from selfcodealign.__main__ import TOOLS

    blocks = [
        "# Commands\n\nThe wheel installs the command `selfcodealign`; in a checkout, "
        "`.venv/bin/python -m selfcodealign` is the same. This page is made from the output of `--help`."
    ]
    for name, summary in TOOLS.items():
        module = importlib.import_module(f"selfcodealign.commands.{name.replace('-', '_')}")
        parser = argparse.ArgumentParser(prog=f"selfcodealign {name}")
        module.add_arguments(parser)
        lines = [described(parser, action) for action in parser._actions if action.dest != "help"]
        said = f"{summary[0].upper()}{summary[1:]}."
        epilog = (parser.epilog or "").strip()
        if "\n" in epilog:
            epilog = f"```text\n{epilog}\n```"
        blocks += [f"## {name}\n\n{said}", "\n".join(lines), epilog]
    return "\n\n".join(block for block in blocks if block) + "\n"


def described(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Describe one flag or word as an item of a list."""
    formatter = parser._get_formatter()
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    values = "" if action.nargs == 0 else formatter._metavar_formatter(action, action.dest.upper())(1)[0]
    shown = " ".join(filter(None, (names, f"`{values}`" if values else "")))
    told = formatter._expand_help(action) if action.help else ""
    notes = ["required"] if action.required and action.option_strings else []
    silent = action.default in (None, False, [], 0, "", argparse.SUPPRESS)
    # The default count of workers is that of this machine's cores, which is no fact of the page.
    if action.option_strings and not silent and "default" not in told and action.dest != "workers":
        notes.append(f"default `{action.default}`")
    return f"* {shown}" + (f" ({', '.join(notes)})" if notes else "") + (f": {told}" if told else "")
