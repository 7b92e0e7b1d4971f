"""Fetch the paper's own examples file from its public repository, for runs that ask for the paper's prompts."""

import hashlib
import logging
import urllib.error
import urllib.request
from pathlib import Path

from selfcodealign.errors import UserError
from selfcodealign.rows_io import first_line, write_text
from selfcodealign.stage import run

log = logging.getLogger(__name__)

URL = (
    "https://raw.githubusercontent.com/bigcode-project/selfcodealign/refs/tags/selfcodealign/"
    "prompts/self-ossinstruct-fewshot.txt"
)
SHA256 = "22aae54cc36fafff0d770eb19ba23192beb3260eacf638b2476ba0e4d2ce4f26"
TIMEOUT_S = 60
MOST_BYTES = 2**20


def why_refused(content: bytes) -> str | None:
    """Say why fetched content is not the file asked for, or None."""
    found = hashlib.sha256(content).hexdigest()
    return None if found == SHA256 else f"its sha256 is {found}, not {SHA256}"


def fetched(url: str) -> bytes:
    """Return what is at an address.

    Raises:
        UserError: it cannot be reached.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            return response.read(MOST_BYTES)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UserError(
            f"{url} cannot be fetched ({first_line(error)}); fetch it elsewhere and name the file in prompts.examples"
        ) from error


def main(prompts: Path) -> None:
    """Fetch the paper's own examples file and check that it is the published one.

    Args:
        prompts: where to keep it.

    Raises:
        UserError: it cannot be reached, or is another file.
    """
    content = fetched(URL)
    if reason := why_refused(content):
        raise UserError(f"{URL} is not the published examples file: {reason}")
    write_text(prompts, content.decode())
    log.info("fetched %d characters", len(content.decode()))


if __name__ == "__main__":
    run(main)
