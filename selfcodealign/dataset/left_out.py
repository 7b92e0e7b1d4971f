"""Tell comments that stand for code which is not there: "... existing code ...", "rest of the class unchanged"."""

import re

DOTS = r"(?:\.{3,}|\u2026)"
_DOTTED = re.compile(rf"\W*{DOTS}|.*{DOTS}\W*$")
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019]\w+)?")

LEFT = frozenset(
    {"existing", "previous", "prior", "original", "other", "others", "remaining", "rest", "remainder", "remains"}
)
"""What is left out: words for code that the reader is to know already."""
MORE = frozenset({"more", "additional", "further", "similar", "etc", "your"})
CODE = frozenset(
    {
        *("code", "class", "classes", "function", "functions", "method", "methods", "implementation"),
        *("implementations", "logic", "import", "imports", "module", "program", "script", "definition", "definitions"),
        *("test", "tests", "helper", "helpers", "body", "constructor", "cases"),
    }
)
INNER = frozenset({"code", "implementation", "logic", "body"})
SAME = frozenset(
    {
        *("unchanged", "same", "remain", "remains", "stay", "stays", "omitted", "elided", "intact", "untouched"),
        *("unmodified", "identical", "snip", "snipped", "truncated"),
    }
)
GONE = frozenset({"omitted", "elided", "skipped", "truncated", "removed", "shortened", "abbreviated", "hidden"})
WHY = frozenset({"brevity", "clarity", "simplicity", "space", "conciseness", "readability", "shortness"})
GOES = frozenset({"go", "goes", "come", "comes", "belong", "belongs", "continue", "continues", "follow", "follows"})
FILLERS = frozenset(
    {
        *("the", "all", "any", "and", "with", "of", "my", "this", "these", "its", "our", "that", "in", "from", "to"),
        *("be", "will", "should", "would", "are", "is", "was", "were", "as", "here", "before", "above", "below", "a"),
        *("exactly", "left", "kept", "keep", "part", "parts", "it", "they", "previously", "shown", "not", "up", "for"),
        *("no", "changes", "change", "needed", "everything", "else", "also", "still", "just", "like", "file"),
    }
)


def stands_for_code(comment: str) -> bool:
    """Say whether a comment stands for code that was left out.

    A comment about code that is there speaks of more than code: "the rest of the function handles zero" and "... and so
    on" stand for nothing. Dots at either end, or words such as "unchanged" and "here", make the difference.

    Args:
        comment: with its `#`.
    """
    text = comment.lstrip("#! \t").lower()
    words = _WORDS.findall(text)
    dotted = _DOTTED.match(text) is not None
    if not words:
        return dotted and not any(letter.isalnum() or letter in "\"'" for letter in text)
    said = set(words)
    if (said & GONE and said & WHY) or said <= {"snip", "snipped", "elided", "omitted"}:
        return True
    if re.match(r"fill (?:this |it )?in\b|fill in\b", text) and said & (LEFT | INNER | {"blanks", "blank", "details"}):
        return True
    known = LEFT | MORE | CODE | SAME | GONE | GOES | FILLERS
    others = [place for place, word in enumerate(words) if word not in known]
    nouns = [place for place, word in enumerate(words) if word in CODE]
    # A name may stand before its noun: "the rest of the Calculator class".
    if len(others) > 2 or (others and (not nouns or others[-1] > nouns[-1])):
        return False
    if dotted:
        bare = re.match(DOTS, text) and nouns and not others
        return bool(bare or (said & (LEFT | MORE | SAME | GONE) and (nouns or not others)) or (nouns and said & GOES))
    if {"same", "as"} <= said and said & {"before", "above", "previously", "original"} and not others:
        return True
    if nouns and said & LEFT:
        rest = bool(said & {"rest", "remainder"}) and not others and words[-1] in CODE
        as_before = "as" in said and bool(said & {"is", "before", "above"})
        return rest or as_before or bool(said & (SAME | GONE | GOES) or "here" in said)
    if nouns and said & CODE <= INNER and not others:
        return bool(said & (SAME | GONE) or ("here" in said and (said & GOES or words[-1] == "here")))
    return False
