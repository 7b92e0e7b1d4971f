"""Find top-level functions in one pass over a file's bytes.

Only strings, comments, brackets and line continuations are understood: enough to tell code in the first column from
text in the first column, which is what slicing by regular expression gets wrong. Where the bytes are not balanced the
scan says so and the caller parses the whole file.
"""

import numpy as np

from selfcodealign.compiled import compiled

START, END, DECORATED, BODY, LINE, FIELDS = 0, 1, 2, 3, 4, 5
"""Columns of a found function: first byte of `def`, byte after it, first byte of its decorators, first byte of its
body, line number of `def`, and how many columns there are."""


_NUL, _TAB, _LF, _FF, _CR, _SPACE, _HASH, _DOT = b"\0\t\n\f\r #."
_DOUBLE, _SINGLE, _BACKSLASH, _COLON, _SEMICOLON, _AT, _UNDERSCORE = b"\"'\\:;@_"
_ROUND, _SQUARE, _CURLY, _ROUND_END, _SQUARE_END, _CURLY_END = b"([{)]}"
_DEF, _ASYNC, _CLASS, _RETURN = (
    np.frombuffer(word, dtype=np.uint8) for word in (b"def", b"async", b"class", b"return")
)


@compiled
def _blank(c):
    return c in (_SPACE, _TAB)


@compiled
def _letter(c):
    """Say whether a byte belongs to a name; all of UTF-8's longer characters count."""
    return (48 <= c <= 57) or (65 <= c <= 90) or (97 <= c <= 122) or c == _UNDERSCORE or c >= 128


@compiled
def _starts(text, at, word):
    """Say whether a word stands at a place."""
    if at + len(word) > len(text):
        return False
    for k in range(len(word)):  # noqa: SIM110
        if text[at + k] != word[k]:
            return False
    return True


@compiled
def _word(text, at, word):
    """Say whether a word stands at a place, a blank behind it and one more byte."""
    return at + len(word) + 1 < len(text) and _starts(text, at, word) and _blank(text[at + len(word)])


@compiled
def scan(text, found, starts):
    """Write each top-level function into `found` (n × FIELDS, int64); return how many, and whether to trust it.

    Args:
        text: the file, uint8.
        found: room for the functions; as many rows as the file has `def`s at the start of a line are enough.
        starts: room for the first byte of every top-level logical line (int64), 0 after the last; empty if not wanted.

    Returns:
        (count, sound). Unsound means: an unterminated string or bracket, a form feed, a NUL or a lone carriage return,
        which the grammar treats in its own way.
    """
    size = len(text)
    count = 0
    logical = 0
    sound = True
    depth = 0
    line = 1
    i = 0
    decorated = -1  # First byte of the decorators above, if any.
    open_function = False
    header = False  # Between `def` and its colon.
    body = False  # After the colon, before the first byte of the body.
    fresh = True  # At the first column of a logical line.
    while i < size:
        c = text[i]
        if fresh:
            fresh = False
            # Blank lines and comments in the first column end no function.
            if depth == 0 and not (_blank(c) or c in (_LF, _CR, _HASH, _FF)):
                if open_function:
                    found[count, END] = i
                    count += 1
                    open_function = False
                    header = False
                    body = False
                if logical < len(starts):
                    starts[logical] = i
                    logical += 1
                at = i
                if _word(text, i, _ASYNC):
                    at = i + 6
                    while at < size and _blank(text[at]):
                        at += 1
                if _word(text, at, _DEF):
                    if count >= found.shape[0]:
                        return count, False
                    found[count, START] = i
                    found[count, DECORATED] = decorated if decorated >= 0 else i
                    found[count, BODY] = -1
                    found[count, LINE] = line
                    open_function = True
                    header = True
                    decorated = -1
                    i = at + 4
                    continue
                if c == _AT:
                    if decorated < 0:
                        decorated = i
                else:
                    decorated = -1
            elif depth > 0 and (_word(text, i, _DEF) or _word(text, i, _CLASS)):
                return count, False  # A definition inside a bracket: the bracket was never closed.
        if body and not (_blank(c) or c in (_LF, _CR, _HASH, _BACKSLASH)):
            found[count, BODY] = i
            body = False
        if c == _LF:
            line += 1
            fresh = True
            i += 1
        elif c == _HASH:  # A comment.
            while i < size and text[i] != _LF:
                if text[i] == _CR and not (i + 1 < size and text[i + 1] == _LF):
                    sound = False
                i += 1
        elif c in (_DOUBLE, _SINGLE):  # A string; prefixes change nothing about where it ends.
            if i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                i += 3
                closed = False
                while i < size:
                    d = text[i]
                    if d == _BACKSLASH:
                        if i + 1 < size and text[i + 1] == _LF:
                            line += 1
                        i += 2
                    elif d == c and i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                        i += 3
                        closed = True
                        break
                    else:
                        if d == _LF:
                            line += 1
                        i += 1
                if not closed:
                    return count, False
            else:
                i += 1
                closed = False
                while i < size:
                    d = text[i]
                    if d == _BACKSLASH:
                        if i + 1 < size and text[i + 1] == _LF:
                            line += 1
                        elif i + 2 < size and text[i + 1] == _CR and text[i + 2] == _LF:
                            i += 1
                            line += 1
                        i += 2
                    elif d == c:
                        i += 1
                        closed = True
                        break
                    elif d == _LF:
                        break
                    else:
                        i += 1
                if not closed:
                    return count, False
        elif c in (_ROUND, _SQUARE, _CURLY):
            depth += 1
            i += 1
        elif c in (_ROUND_END, _SQUARE_END, _CURLY_END):
            depth -= 1
            if depth < 0:
                return count, False
            i += 1
        elif c == _COLON:
            if header and depth == 0:
                header = False
                body = True
            i += 1
        elif c == _BACKSLASH:  # A backslash joins the next line to this one.
            if i + 1 < size and text[i + 1] == _LF:
                line += 1
                i += 2
            elif i + 2 < size and text[i + 1] == _CR and text[i + 2] == _LF:
                line += 1
                i += 3
            else:
                i += 1
        elif c in (_FF, _NUL) or (c == _CR and not (i + 1 < size and text[i + 1] == _LF)):
            return count, False
        else:
            i += 1
    if open_function:
        found[count, END] = size
        count += 1
    return count, sound and depth == 0


@compiled
def returns_value(text):
    """Say whether code has a `return` followed by an expression, outside strings and comments.

    Equal to the published filter, which counts nested functions too and a bare `return` not.
    """
    size = len(text)
    i = 0
    word = False  # The byte before belongs to a name.
    while i < size:
        c = text[i]
        if c == _HASH:
            while i < size and text[i] != _LF:
                i += 1
            word = False
        elif c in (_DOUBLE, _SINGLE):
            if i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                i += 3
                while i < size:
                    if text[i] == _BACKSLASH:
                        i += 2
                    elif text[i] == c and i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                        i += 3
                        break
                    else:
                        i += 1
            else:
                i += 1
                while i < size:
                    if text[i] == _BACKSLASH:
                        i += 2
                    elif text[i] == c or text[i] == _LF:
                        i += 1
                        break
                    else:
                        i += 1
            word = False
        elif not word and i + 6 < size and _starts(text, i, _RETURN):
            i += 6
            if _letter(text[i]):
                word = True
                continue
            while i < size and _blank(text[i]):
                i += 1
            if i < size and text[i] == _BACKSLASH:  # return \ <newline> expression
                return True
            if i < size and not (text[i] == _LF or text[i] == _CR or text[i] == _HASH or text[i] == _SEMICOLON):
                return True
            word = False
        else:
            word = _letter(c) or c == _DOT
            i += 1
    return False


def as_array(text: bytes) -> np.ndarray:
    """View bytes as the uint8 array that the compiled passes read."""
    return np.frombuffer(text, dtype=np.uint8)
