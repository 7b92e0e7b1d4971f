"""What a response may not do, and what it could: by reading its syntax tree only.

A few things are refused outright: reading the frames it is called from, and names by which its tests decide. The rest
of the guards is spared for the many responses that have no means to do what they guard against.
"""

import ast
import re

from syntax import nodes_of  # pyright: ignore[reportMissingImports]
from values import DECIDING  # pyright: ignore[reportMissingImports]

# A program that uses these can read the frames it is called from, and so the harness. None is usual in a response.
FRAME_WALKING = {
    "_getframe", "_current_frames", "_current_exceptions", "currentframe", "f_back", "f_globals", "f_locals",
    "f_builtins", "tb_frame", "gi_frame", "cr_frame", "ag_frame", "get_objects", "get_referrers", "get_referents",
    "settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads", "call_tracing", "pythonapi",
    "py_object", "__globals__", "co_consts", "getouterframes", "getinnerframes", "getargvalues", "walk_stack",
    "walk_tb", "_ShouldStop", "_TracingOrProfiling",
}  # fmt: skip
OF_INSPECT = {"stack", "trace"}  # usual names elsewhere
REPLACED_BUILTINS = {
    "AssertionError", "Exception", "BaseException", "isinstance", "issubclass", "all", "any", "abs", "len", "repr",
    "type", "hasattr", "getattr", "callable", "__import__", "__builtins__", "__debug__",
}  # fmt: skip
NEVER_REPLACED = {"__import__", "__builtins__", "__debug__"}
SUSPICIOUS = re.compile(
    "|".join(sorted(FRAME_WALKING))
    + r"|[\"']\s*\+\s*[\"']|inspect|__subclasses__|\bglobal\b|\b(?:"
    + "|".join(sorted(REPLACED_BUILTINS))
    + r")\s*[=,:)]"
)
# With one of these a name can be put together at run time, so that reading says nothing.
REFLECTION = {
    "__base__", "__bases__", "__builtins__", "__class__", "__closure__", "__code__", "__defaults__", "__dict__",
    "__func__", "__getattribute__", "__import__", "__init_subclass__", "__kwdefaults__", "__main__", "__mro__",
    "__self__", "__set__", "__setattr__", "__wrapped__", "attrgetter", "builtins", "cell_contents", "compile",
    "ctypes", "delattr", "eval", "exec", "gc", "getattr", "getattr_static", "getmembers", "globals", "imp",
    "import_module", "importlib", "inspect", "locals", "marshal", "methodcaller", "mock", "modules", "pickle", "pydoc",
    "runpy", "setattr", "type", "update_wrapper", "vars",
}  # fmt: skip
# Each of these makes classes, or values that agree with others by themselves.
MAKERS = {
    "ABCMeta", "ANY", "EnumMeta", "EnumType", "MagicMock", "Mock", "NonCallableMagicMock", "approx", "make_dataclass",
    "new_class", "prepare_class", "pytest", "unittest",
}  # fmt: skip


def looks_for_harness(tree, text=None, tests=None):
    """Name what a response uses to read its callers' frames, or which builtin it rebinds; None for nearly all.

    `text` is the source, if it is at hand: without any of the words in it there is nothing to look for. `tests` are
    the names that the tests (call, read); without them, any of the builtins may matter.
    """
    if text is not None and "\\" not in text and not SUSPICIOUS.search(text):
        return None
    inspecting = {
        alias.asname or alias.name
        for node in nodes_of(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "inspect"
    }
    for node in nodes_of(tree):
        word = None
        if isinstance(node, ast.Attribute):
            word = node.attr
            if word in OF_INSPECT and isinstance(node.value, ast.Name) and node.value.id in inspecting:
                return f"the response reads frames ({word})"
        elif isinstance(node, ast.Name):
            word = node.id
        elif isinstance(node, ast.alias):
            word = node.name
        elif isinstance(node, ast.ImportFrom) and node.module == "inspect":
            found = OF_INSPECT.intersection(alias.name for alias in node.names)
            if found:
                return f"the response reads frames ({found.pop()})"
        else:
            word = spelled(node)
        if word in FRAME_WALKING or (word in OF_INSPECT and inspecting and isinstance(node, (ast.Constant, ast.BinOp))):
            return f"the response reads frames ({word})"
        if isinstance(node, ast.Attribute) and word == "__subclasses__" and not _of_its_own(node.value, tree):
            return "the response lists classes that are not its own"
    replaced = sorted(rebound_names(tree) & REPLACED_BUILTINS)
    if tests is not None:
        called, read = tests
        replaced = [
            name
            for name in replaced
            if name in NEVER_REPLACED or name in called or (name in read and name.endswith(("Error", "Exception")))
        ]
    return f"the response replaces {replaced[0]}" if replaced else None


def rebound_names(tree):
    """Return the names that a response assigns at its top, or declares `global` anywhere."""
    rebound = {name for node in nodes_of(tree) if isinstance(node, ast.Global) for name in node.names}
    return rebound | {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    }


def spelled(node):
    """Return the short text that an expression spells, a constant or constants put together; None for others."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and len(node.value) < 40 else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = spelled(node.left), spelled(node.right)
        return left + right if left is not None and right is not None else None
    return None


def _of_its_own(node, tree):
    """Tell whether a class is one that the response defines, or that of an instance."""
    if isinstance(node, ast.Name):
        defined = {item.name for item in nodes_of(tree) if isinstance(item, ast.ClassDef)}
        return node.id in defined | {"cls"}
    return isinstance(node, ast.Attribute) and node.attr == "__class__"


def means(tree):
    """Return what a response has the means to do, as a set of words.

    `reflect`: reach names, attributes and modules by texts; `write`: change what is not its own; `make`: make values
    whose comparisons it decides.
    """
    found = set()
    for node in nodes_of(tree):
        words = ()
        if isinstance(node, ast.ClassDef):
            found.add("make")
        elif isinstance(node, ast.Attribute):
            words = (node.attr,)
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not isinstance(node.ctx, ast.Load) and not own:
                found |= {"write", "make"} if node.attr in DECIDING else {"write"}
        elif isinstance(node, ast.Name):
            words = (node.id,)
        elif isinstance(node, ast.alias):
            words = node.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            words = (node.module or "").split(".")
        elif isinstance(node, ast.Global):
            found.add("global")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = (node.value,)
        if not REFLECTION.isdisjoint(words):
            found |= {"reflect", "write", "make"}
        elif not MAKERS.isdisjoint(words):
            found.add("make")
    return found
