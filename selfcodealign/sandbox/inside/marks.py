"""What the marks of pytest-style tests say: whether a test counts, its parameters and their labels, its warnings."""

import builtins
import contextlib
import enum
import functools
import importlib
import itertools
import sys
import warnings


def marks_of(value):
    """List the pytest marks of a function, class or module, decorators or plain marks."""
    marks = getattr(value, "pytestmark", [])
    marks = marks if isinstance(marks, (list, tuple)) else [marks]
    return [getattr(mark, "mark", mark) for mark in marks]


def left_out(marks, names):
    """Tell whether marks keep a test from running, or from counting."""
    for mark in marks:
        if mark.name == "skip":
            return True
        if mark.name in ("skipif", "xfail"):
            conditions = [*mark.args, *(value for key, value in mark.kwargs.items() if key == "condition")]
            held = any(eval(each, names) if isinstance(each, str) else each for each in conditions)
            if held or (mark.name == "xfail" and not conditions):
                return True
    return False


def is_parameter_set(value):
    """Tell whether a value was made by `pytest.param`."""
    return type(value).__name__ == "ParameterSet" and hasattr(value, "marks")


def parameters(mark):
    """Return a list of (arguments by name, marks of this choice) and the fixtures they go through, of `parametrize`."""
    given = dict(zip(("argnames", "argvalues", "indirect", "ids"), mark.args))  # noqa: B905 - Python 3.8 has no strict
    given.update(mark.kwargs)
    names = given["argnames"]
    names = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else list(names)
    single = isinstance(given["argnames"], str) and len(names) == 1
    chosen = []
    for value in given["argvalues"]:
        marked = is_parameter_set(value)
        values = value.values if marked else (value,) if single else tuple(value)
        if len(values) != len(names):
            raise ValueError(f"parametrize names {len(names)} arguments and gives {len(values)}")
        marks = [getattr(each, "mark", each) for each in value.marks] if marked else []
        label = value.id if marked and isinstance(value.id, str) else None
        chosen.append((dict(zip(names, values)), marks, label))  # noqa: B905
    chosen = labelled(chosen, given.get("ids"))
    indirect = given.get("indirect", False)
    return chosen, set(names if indirect is True else indirect or ())


def labelled(chosen, ids):
    """Give each choice of parameters the label that pytest would; `ids` may be a list or a function."""
    given = list(ids) if ids is not None and not callable(ids) else []
    found = []
    for place, (arguments, marks, label) in enumerate(chosen):
        if label is None and place < len(given) and given[place] is not None:
            label = str(given[place])
        if label is None:
            label = "-".join(_label(name, value, place, ids) for name, value in arguments.items())
        found.append((arguments, marks, label))
    labels = [label for _, _, label in found]
    again = {label: itertools.count() for label in labels if labels.count(label) > 1}
    return [
        (arguments, marks, f"{label}{next(again[label])}" if label in again else label)
        for arguments, marks, label in found
    ]


def _label(name, value, place, ids):
    """Return the label of one argument."""
    if callable(ids):
        own = ids(value)
        if own is not None:
            value = own
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if value is None or isinstance(value, (str, int, float, bool, complex)):
        return str(value)
    named = getattr(value, "__name__", None)
    if isinstance(named, str):
        return named
    return str(value) if isinstance(value, enum.Enum) else f"{name}{place}"


def filtered(marks):
    """Return a context in which warnings are treated as pytest does, and as `filterwarnings` marks ask for."""
    stack = contextlib.ExitStack()
    stack.enter_context(warnings.catch_warnings(record=True))
    for category in (DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("always", category=category)
    for mark in marks:
        for text in mark.args if mark.name == "filterwarnings" else ():
            action, message, category, module, line = [*(part.strip() for part in text.split(":", 4)), *[""] * 4][:5]
            kind = functools.reduce(getattr, category.split(".")[1:], _imported(category)) if category else Warning
            line = int(line) if line else 0
            warnings.filterwarnings(action or "default", message, kind, module, line)  # pyright: ignore
    return stack


def _imported(category):
    """Return what the first part of a category's dotted name stands for."""
    name = category.split(".")[0]
    if "." not in category:
        return getattr(builtins, name)
    return importlib.import_module(name) if name != "__main__" else sys.modules["__main__"]
