"""Errors that a person caused and a person can mend."""

ERROR_FILE = "SELFCODEALIGN_ERROR_FILE"
"""Environment variable: a file to which a process also writes its sentence, for the launcher that started it."""


class UserError(Exception):
    """Say in one sentence which file, key or row is wrong and what to do about it.

    Command lines print the sentence without a traceback and exit with status 1.
    """
