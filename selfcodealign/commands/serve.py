"""`python -m selfcodealign serve`: the sandbox over HTTP, for trainers that ask for verdicts while they train."""

import argparse
import logging
import sys

from selfcodealign.serving.settings import Serve
from selfcodealign.stage import add_section, section_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for each setting of a server."""
    add_section(parser, Serve)


def main(arguments: argparse.Namespace) -> None:
    """Listen until a signal ends it.

    Raises:
        UserError: a setting is wrong, other machines may come in without a token, or no isolation works here.
    """
    settings = section_of(Serve, vars(arguments))
    settings.token()  # Before packages are missing: who asks for the impossible is told so first.
    from selfcodealign.serving import server

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    server.run(settings)
