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


@compiled
def scan(text, found):
    """Write each top-level function into `found` (n × FIELDS, int64); return how many, and whether to trust it.

    Args:
        text: the file, uint8.
        found: room for the functions; as many rows as the file has `def`s at the start of a line are enough.

    Returns:
        (count, sound). Unsound means: an unterminated string or bracket, a form feed, a NUL or a lone carriage return,
        which the grammar treats in its own way.
    """
    size = len(text)
    count = 0
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
            if depth == 0 and not (c == 32 or c == 9 or c == 10 or c == 13 or c == 35 or c == 12):
                if open_function:
                    found[count, END] = i
                    count += 1
                    open_function = False
                    header = False
                    body = False
                at = i
                if (  # async
                    c == 97
                    and i + 6 < size
                    and text[i + 1] == 115
                    and text[i + 2] == 121
                    and text[i + 3] == 110
                    and text[i + 4] == 99
                    and (text[i + 5] == 32 or text[i + 5] == 9)
                ):
                    at = i + 6
                    while at < size and (text[at] == 32 or text[at] == 9):
                        at += 1
                if (
                    at + 4 < size
                    and text[at] == 100
                    and text[at + 1] == 101
                    and text[at + 2] == 102
                    and (text[at + 3] == 32 or text[at + 3] == 9)
                ):
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
                if c == 64:  # @
                    if decorated < 0:
                        decorated = i
                else:
                    decorated = -1
            elif depth > 0 and (
                (c == 100 and i + 3 < size and text[i + 1] == 101 and text[i + 2] == 102 and text[i + 3] == 32)
                or (
                    c == 99
                    and i + 5 < size
                    and text[i + 1] == 108
                    and text[i + 2] == 97
                    and text[i + 3] == 115
                    and text[i + 4] == 115
                    and text[i + 5] == 32
                )
            ):
                return count, False  # A definition inside a bracket: the bracket was never closed.
        if body and not (c == 32 or c == 9 or c == 10 or c == 13 or c == 35 or c == 92):
            found[count, BODY] = i
            body = False
        if c == 10:
            line += 1
            fresh = True
            i += 1
        elif c == 35:  # A comment.
            while i < size and text[i] != 10:
                if text[i] == 13 and not (i + 1 < size and text[i + 1] == 10):
                    sound = False
                i += 1
        elif c == 34 or c == 39:  # A string; prefixes change nothing about where it ends.
            if i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                i += 3
                closed = False
                while i < size:
                    d = text[i]
                    if d == 92:
                        if i + 1 < size and text[i + 1] == 10:
                            line += 1
                        i += 2
                    elif d == c and i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                        i += 3
                        closed = True
                        break
                    else:
                        if d == 10:
                            line += 1
                        i += 1
                if not closed:
                    return count, False
            else:
                i += 1
                closed = False
                while i < size:
                    d = text[i]
                    if d == 92:
                        if i + 1 < size and text[i + 1] == 10:
                            line += 1
                        elif i + 2 < size and text[i + 1] == 13 and text[i + 2] == 10:
                            i += 1
                            line += 1
                        i += 2
                    elif d == c:
                        i += 1
                        closed = True
                        break
                    elif d == 10:
                        break
                    else:
                        i += 1
                if not closed:
                    return count, False
        elif c == 40 or c == 91 or c == 123:
            depth += 1
            i += 1
        elif c == 41 or c == 93 or c == 125:
            depth -= 1
            if depth < 0:
                return count, False
            i += 1
        elif c == 58:
            if header and depth == 0:
                header = False
                body = True
            i += 1
        elif c == 92:  # A backslash joins the next line to this one.
            if i + 1 < size and text[i + 1] == 10:
                line += 1
                i += 2
            elif i + 2 < size and text[i + 1] == 13 and text[i + 2] == 10:
                line += 1
                i += 3
            else:
                i += 1
        elif c == 12 or c == 0 or (c == 13 and not (i + 1 < size and text[i + 1] == 10)):
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
        if c == 35:
            while i < size and text[i] != 10:
                i += 1
            word = False
        elif c == 34 or c == 39:
            if i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                i += 3
                while i < size:
                    if text[i] == 92:
                        i += 2
                    elif text[i] == c and i + 2 < size and text[i + 1] == c and text[i + 2] == c:
                        i += 3
                        break
                    else:
                        i += 1
            else:
                i += 1
                while i < size:
                    if text[i] == 92:
                        i += 2
                    elif text[i] == c or text[i] == 10:
                        i += 1
                        break
                    else:
                        i += 1
            word = False
        elif (
            c == 114
            and not word
            and i + 6 < size
            and text[i + 1] == 101
            and text[i + 2] == 116
            and text[i + 3] == 117
            and text[i + 4] == 114
            and text[i + 5] == 110
        ):
            i += 6
            c = text[i]
            if (48 <= c <= 57) or (65 <= c <= 90) or c == 95 or (97 <= c <= 122) or c >= 128:
                word = True
                continue
            while i < size and (text[i] == 32 or text[i] == 9):
                i += 1
            if i < size and text[i] == 92:  # return \ <newline> expression
                return True
            if i < size and not (text[i] == 10 or text[i] == 13 or text[i] == 35 or text[i] == 59):
                return True
            word = False
        else:
            word = (48 <= c <= 57) or (65 <= c <= 90) or c == 95 or (97 <= c <= 122) or c >= 128 or c == 46
            i += 1
    return False


def as_array(text: bytes) -> np.ndarray:
    """View bytes as the uint8 array that the compiled passes read."""
    return np.frombuffer(text, dtype=np.uint8)
