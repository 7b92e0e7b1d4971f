"""Errors that a person caused and a person can mend."""


class UserError(Exception):
    """Say in one sentence which file, key or row is wrong and what to do about it.

    Command lines print the sentence without a traceback and exit with status 1.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for use inside a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
