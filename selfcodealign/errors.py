"""Errors that a person caused and a person can mend."""


class UserError(Exception):
    """Say in one sentence which file, key or row is wrong and what to do about it.

    Command lines print the sentence without a traceback and exit with status 1.
    """
