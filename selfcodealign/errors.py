"""Errors that a person caused and a person can mend."""

ERROR_FILE = "SELFCODEALIGN_ERROR_FILE"
"""Environment variable: a file to which a process also writes its sentence, for the launcher that started it."""


class UserError(Exception):
    """Say in one sentence which file, key or row is wrong and what to do about it.

    Command lines print the sentence without a traceback and exit with status 1.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for use inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
