"""Find the program in what a model wrote: by one rule for every answer, and by the rules the papers used.

The rule, `program_in`:

1. What the model thought is no code: `<think>` … `</think>`, with or without one of its ends.
2. Marks behind the answer (`<|endoftext|>`, `</s>`, a stray fence) are taken off.
3. Of an answer with fences, the program is the last block that defines what the task asks for, without that the last
   that defines anything, without that the last that does more than print. Usage examples, outputs, shells and REPL
   transcripts are no programs; a draft is superseded by what comes after it.
4. Other blocks are put before it if it, or the task, needs a name that only they define: helpers, imports, classes.
5. An answer without fences is a program if it is Python and more than a word, or if nothing but words and tags stands
   before and behind the code in it. Published samples are programs already: words around their code are left there.
"""

import ast
import builtins
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from textwrap import dedent

from selfcodealign.dataset import fences

FENCE_LINE = re.compile(r"^\s*(```|~~~)", re.MULTILINE)


# ---- the papers' rules ----------------------------------------------------------------------------------------------


def last_python_block(text: str) -> str:
    """Return what follows the last "```python" up to the next fence or the end; empty if there is none.

    This is how the paper reads an instruct model's answer (evaluation of the reference code, `text2code_vllm.py`).
    """
    start = text.rfind("```python")
    if start < 0:
        return ""
    body = text[start + len("```python") :]
    end = body.find("```")
    return body if end < 0 else body[:end]


def between_last_fences(text: str) -> str:
    """Return the lines between the last two fences (LiveCodeBench); empty with fewer than two."""
    lines = text.split("\n")
    found = [number for number, line in enumerate(lines) if "```" in line]
    if len(found) < 2:
        return ""
    return "\n".join(lines[found[-2] + 1 : found[-1]])


def cut(text: str, stops: tuple[str, ...]) -> str:
    """Cut a text before the first of several stop strings."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


# ---- what is Python -------------------------------------------------------------------------------------------------


def parsed(program: str) -> ast.Module | None:
    """Parse a text as a Python module, without running it; None if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(program.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def compiles(program: str) -> bool:
    """Whether a text is a Python module."""
    return parsed(program) is not None


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SHOWING = (ast.Expr, ast.Assert, ast.Import, ast.ImportFrom, ast.Pass)
_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Piece:
    """A piece of an answer that may be a program, or a part of one."""

    code: str
    closed: bool = True

    @cached_property
    def tree(self) -> ast.Module | None:
        """Its syntax tree; that of a function's body too, which follows a head that the answer does not repeat."""
        found = parsed(self.code)
        if found is None and self.code.lstrip("\n")[:1] in (" ", "\t"):
            return parsed("if True:\n" + self.code)
        return found

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names of its functions and classes, also where an `if` or `try` holds them."""
        return frozenset(node.name for node in _statements(self.tree) if isinstance(node, _DEFINITIONS))

    @cached_property
    def bound(self) -> frozenset[str]:
        """Names that it binds at the top level in any way."""
        found = set(self.defined)
        for node in _statements(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif not isinstance(node, _DEFINITIONS):
                found |= {
                    it.id for it in ast.walk(node) if isinstance(it, ast.Name) and not isinstance(it.ctx, ast.Load)
                }
        return frozenset(found)

    @cached_property
    def used(self) -> frozenset[str]:
        """Names that it reads and binds nowhere, parameters and local variables included."""
        read, local = set(), set(self.bound)
        for node in ast.walk(self.tree or ast.Module([], [])):
            if isinstance(node, ast.Name):
                (read if isinstance(node.ctx, ast.Load) else local).add(node.id)
            elif isinstance(node, ast.arg):
                local.add(node.arg)
            elif isinstance(node, _DEFINITIONS):
                local.add(node.name)
        return frozenset(read - local - _BUILTINS)

    @cached_property
    def reads_input(self) -> bool:
        """Whether it reads from standard input, or from a file descriptor."""
        return any(
            (isinstance(node, ast.Name) and node.id in ("input", "open", "stdin"))
            or (isinstance(node, ast.Attribute) and node.attr == "stdin")
            for node in ast.walk(self.tree or ast.Module([], []))
        )

    @cached_property
    def only_shows(self) -> bool:
        """Whether it defines and computes nothing: calls, prints, assertions, a word."""
        return self.tree is None or all(isinstance(node, _SHOWING) for node in self.tree.body)

    @property
    def is_stub(self) -> bool:
        """Whether its last function has nothing but a docstring: a head that is still to be completed."""
        last = self.tree.body[-1] if self.tree and self.tree.body else None
        return isinstance(last, ast.FunctionDef) and all(isinstance(it, ast.Expr | ast.Pass) for it in last.body)

    @property
    def says_something(self) -> bool:
        """Whether it is more than words, numbers or names that happen to be Python."""
        return self.tree is not None and any(
            not isinstance(node, ast.Expr) or any(isinstance(it, ast.Call | ast.Await) for it in ast.walk(node))
            for node in self.tree.body
        )


def _statements(tree: ast.Module | None) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is loaded, those inside `if`, `try`, `for` and `with` too."""
    pending: list[ast.stmt] = list(tree.body) if tree else []
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _DEFINITIONS):
            pending += [it for it in ast.iter_child_nodes(node) if isinstance(it, ast.stmt)]
            pending += [
                it
                for inner in ast.iter_child_nodes(node)
                if isinstance(inner, ast.ExceptHandler | ast.match_case)
                for it in inner.body
            ]


_BEGINNING = re.compile(r"(?:def|class|import|from|async def) \w|@\w")
_CODE = re.compile(
    r"\s+(?![-*•>`\d])\S|(?:def|class|import|from|async|return|if|elif|else|for|while|try|except|with|raise)\b.*[:(]"
    r"|@\w|[\w.\[\]]+ ?[-+*/]?=|[\w.]+\("
)
"""How lines of code begin, and lines that look like code."""
_MOST_STRETCHES, _MOST_LINES = 8, 60

_MOST_MARKS, _MOST_STOPS = 8, 20
"""Most places where a text is tried as Python: what runs on and on need not be parsed over and over."""


# ---- what surrounds an answer ---------------------------------------------------------------------------------------

_THOUGHT = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratch_?pad|analysis)"
_THINKING = re.compile(
    rf"<(?P<end>/?){_THOUGHT}>|<\|(?P<end2>begin|end)_of_thought\|>|\[(?P<end3>/?)THINK\]|◁(?P<end4>/?)think▷",
    re.IGNORECASE,
)
_MARK = re.compile(
    r"<\|(?:start_header_id|im_start)\|>(?:assistant)?|<\|(?:endoftext|end_of_text|im_end|eot_id|eom_id|end|end_of_turn"
    r"|endofmask|EOT|fim_\w+|file_sep|begin_of_text|end_header_id|eos|assistant|user|system|END_OF_TURN_TOKEN|return|call)\|>"
    r"|<｜[^｜\n]{1,40}｜>|</?s>|<(?:eos|EOS|bos|pad|unk|end_of_turn|start_of_turn|EOT|EOD|file_sep|filename|reponame)>"
    r"|<(?:fim|jupyter|issue|commit)_\w+>|\[/?INST\]|\[EOD\]"
)
_FINAL = "<|channel|>final<|message|>"
"""What OpenAI's layout puts before the answer, and behind all that was thought."""
_TURN = re.compile(
    r"^(?:#{2,3} (?:Instruction|Response|Human|User|Assistant):?|(?:Human|User|Assistant):)", re.MULTILINE
)
"""Where the next turn of a talk begins that the model made up."""


def without_thoughts(text: str) -> str:
    """Take what a model thought out of its answer: from each opening mark to the next end, or to the end of the text.

    An end without a beginning, which stood in the prompt, ends what was thought so far. Marks inside a block of whole
    Python, or in backticks, are a part of the answer.
    """
    text = text.rpartition(_FINAL)[2]
    if not _THINKING.search(text):
        return text
    code = _python_spans(text)
    kept: list[str] = []
    at: int | None = 0
    for mark in _THINKING.finditer(text):
        ends = any(mark[name] in ("/", "end") for name in ("end", "end2", "end3", "end4"))
        if at is None:
            at = mark.end() if ends else None
        elif text[mark.start() - 1 : mark.start()] != "`" and not _within(mark.start(), code):
            kept = [] if ends else [*kept, text[at : mark.start()]]
            at = mark.end() if ends else None
    return "".join(kept) + ("" if at is None else text[at:])


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(first <= place < last for first, last in spans)


def _python_spans(text: str) -> list[tuple[int, int]]:
    """Return the offsets of the closed blocks whose text is Python."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return [
        (starts[block.first], starts[block.last])
        for block in fences.blocks(text)
        if block.closed and Piece(block.code).says_something
    ]


def without_marks(text: str) -> str:
    """Cut a text at the first of the marks that end an answer, and take those off that begin it.

    A mark in a string of Python is a part of that code.
    """
    start = 0
    while (mark := _MARK.match(text, start)) and text[mark.end() :].strip():
        start = mark.end()
        while text[start : start + 1] == "\n":
            start += 1
    text = text[start:]
    marks = [mark.start() for mark in _MARK.finditer(text)]
    if not marks or compiles(text):
        return text
    for at in marks[:_MOST_MARKS]:
        if Piece(text[:at]).says_something:
            return text[:at]
    code = _python_spans(text)
    return next((text[:at] for at in marks if not _within(at, code)), text)


# ---- the rule -------------------------------------------------------------------------------------------------------


def program_in(text: str, wanted: Collection[str] = (), *, words: bool = True) -> str:
    """Return the program in an answer by the rule above; empty if there is none.

    Args:
        text: what the model wrote.
        wanted: names that the task asks for, as far as they are known; `input` for a program that reads its input.
        words: look for code among words, where no fence says what is code.
    """
    text = fences.unix_line_ends(text)
    if Piece(text).says_something:
        return text
    answer = without_marks(without_thoughts(text))
    for whole in (answer, without_quote(answer)):
        for part in (whole[: turn.start()] if (turn := _TURN.search(whole)) else "", whole):
            pieces = _pieces(part) or _unfenced(part, words)
            if any(piece.says_something for piece in pieces):
                return _assembled(pieces, frozenset(wanted))
    return last_python_block(answer)


def _pieces(answer: str) -> list[Piece]:
    """Return the blocks that may hold the program: Python's, else those without a tag, else what was typed in a REPL.

    Blocks that are no Python count only if there are no others: what is wrong with them is to be seen.
    """
    fence = FENCE_LINE.search(answer)
    if fence and not answer[fence.end() :].partition("\n")[0].strip("`~ \t"):
        before = Piece(answer[: fence.start()])
        if before.says_something and not before.is_stub:
            # The opening fence stood in the prompt, or the closing one stands alone.
            answer = f"{fence[1]}python\n{answer}"
    blocks = [(block, _piece(block)) for block in fences.blocks(answer)]
    typed_in = [piece for _, piece in blocks if is_transcript(piece.code)]
    python = [piece for block, piece in blocks if block.is_python and piece.code.strip()]
    untagged = [piece for block, piece in blocks if not block.tag]
    for pieces in (python, untagged, [Piece(typed(piece.code)) for piece in typed_in[-1:]]):
        if fine := [piece for piece in pieces if piece.says_something]:
            return fine
    return python[-1:]


def _unfenced(answer: str, words: bool) -> list[Piece]:
    """Return the code of an answer without fences, or with one too many; none if it is more than words around code."""
    answer = answer.strip("\n")
    if not FENCE_LINE.search(answer) and Piece(answer).says_something:
        return [Piece(answer)]
    fence = FENCE_LINE.search(answer)
    if fence and not answer[fence.start() :].partition("\n")[2].strip():
        answer = answer[: fence.start()]  # a block that was begun behind the program
        return [Piece(answer)] if Piece(answer).says_something else []
    if not words:
        return []
    if is_transcript(answer):
        return [Piece(typed(answer))]
    lines = answer.split("\n")
    margins = [place for place, line in enumerate(lines) if line[:1].strip()] + [len(lines)]
    found, between, at = [], [], 0
    while at < len(lines):
        end = at
        if _BEGINNING.match(lines[at]) and len(found) < _MOST_STRETCHES:
            ends = [place for place in margins if at < place][:_MOST_LINES]
            end = next((place for place in reversed(ends) if compiles("\n".join(lines[at:place]))), at)
        if end > at:
            found.append(Piece("\n".join(lines[at:end]).rstrip()))
        else:
            between.append(lines[at])
        at = max(end, at + 1)
    # What is no Python because it was cut off, or is wrong, shall be seen.
    return [] if any(_CODE.match(line) for line in between) else [piece for piece in found if piece.defined]


def without_quote(answer: str) -> str:
    """Take off the marks of a quotation, if it holds a fence."""
    return (
        re.sub(r"^> ?", "", answer, flags=re.MULTILINE) if re.search(r"^> ?(?:```|~~~)", answer, re.MULTILINE) else ""
    )


def _piece(block: fences.Block) -> Piece:
    """Return a block's code, moved to the margin, without the marks and fences that ended it on its last line."""
    code = block.code
    fenced = code.partition("```")[0].rstrip(" ")
    for other in (code, without_marks(code), fenced):
        if code[:1] in (" ", "\t") and _loads(dedent(other)):
            return Piece(dedent(other), block.closed)
        if Piece(other).says_something:
            return Piece(other, block.closed)
    return Piece(code, block.closed)


def _loads(code: str) -> bool:
    """Whether a code is a module by itself, not the rest of a function: no `return` stands outside."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(Piece(code).defined)


def is_transcript(code: str) -> bool:
    """Whether a code is what a REPL shows: prompts before what is typed."""
    first = next((line.strip() for line in code.split("\n") if line.strip()), "")
    return first.startswith((">>> ", "In ["))


def typed(code: str) -> str:
    """Return what was typed in a REPL, without its prompts and without what it printed."""
    lines = [re.match(r"\s*(?:>>>|\.\.\.:|\.\.\.|In \[\d+\]:) ?(.*)", line) for line in code.split("\n")]
    return "".join(f"{line[1]}\n" for line in lines if line)


def _assembled(pieces: list[Piece], wanted: frozenset[str]) -> str:
    """Put the main piece behind those that it needs, in their order."""
    main = _main(pieces, wanted)
    chosen = {main}
    have = set(pieces[main].bound)
    needed = [*sorted(wanted - have), *sorted(pieces[main].used)]
    while needed:
        name = needed.pop()
        if name in have:
            continue
        place = _place_of(name, pieces, main)
        if place is not None and place not in chosen:
            chosen.add(place)
            have |= pieces[place].bound
            needed += sorted(pieces[place].used - have)
    order = [*sorted(chosen - {main}), main]
    text = "\n\n".join(pieces[place].code for place in order)
    # As the paper's rule leaves it: what stands behind the opening fence and before the closing one.
    return f"\n{text}\n" if pieces[main].closed else f"\n{text}"


def _main(pieces: list[Piece], wanted: frozenset[str]) -> int:
    """Return the place of the last piece that defines what is wanted, or else anything, or else does anything."""
    tests: tuple[Callable[[Piece], object], ...] = (
        lambda piece: "input" in wanted and piece.reads_input,
        lambda piece: wanted & piece.defined and not piece.is_stub,
        lambda piece: wanted & piece.defined,
        lambda piece: wanted & piece.bound and not piece.only_shows,
        lambda piece: piece.defined,
        lambda piece: not piece.only_shows,
    )
    for test in tests:
        for place in range(len(pieces) - 1, -1, -1):
            if test(pieces[place]):
                return place
    return len(pieces) - 1


def _place_of(name: str, pieces: list[Piece], main: int) -> int | None:
    """Return the piece that defines a name, or else binds it: the nearest before the main one, or one behind it."""
    places = [*range(main - 1, -1, -1), *range(len(pieces) - 1, main, -1)]
    for defined in (True, False):
        for place in places:
            piece = pieces[place]
            if name in (piece.defined if defined else piece.bound) and not (name in _BUILTINS and not defined):
                return place
    return None


# ---- completions and published programs -----------------------------------------------------------------------------


def completed(head: str, text: str, stops: tuple[str, ...]) -> str:
    """Return a head and a base model's completion of it, up to where the completion leaves what it was completing.

    That is the first stop at which head and completion are whole: not inside a string or a bracket, and not before a
    comment at the margin that the body goes on behind. A mark or a fence ends it too.
    """
    text = cut(text, ("\n```",)) if not compiles(head + text) else text
    text = without_marks(text) if _MARK.search(text) and not compiles(head + text) else text
    ends = sorted({match.start() for stop in stops for match in re.finditer(re.escape(stop), text)})
    for end in ends[:_MOST_STOPS]:
        if compiles(head + text[:end]) and not (text[end + 1] == "#" and _goes_on(text[end + 1 :])):
            return head + text[:end]
    return head + (text if compiles(head + text) else text[: ends[0]] if ends else text)


def _goes_on(rest: str) -> bool:
    """Whether the first line that is no comment is indented: a body goes on behind comments at the margin."""
    for line in rest.split("\n"):
        if line.strip() and not line.startswith("#"):
            return line[0] in " \t"
    return False


def without_markdown(program: str, wanted: Collection[str] = ()) -> str | None:
    """Return the code in a published program that is no Python as it stands; None if it is, or if none is found.

    A program that merely mentions a fence in a string stays as it is.
    """
    if compiles(program):
        return None
    found = program_in(program, wanted, words=False)
    return found if found.strip() and compiles(found) and found != program else None
