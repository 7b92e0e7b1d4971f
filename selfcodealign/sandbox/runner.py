"""What runs programs, by what it holds and not by where it lies: an image's digest, or an interpreter's packages."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from selfcodealign import images
from selfcodealign.errors import UserError
from selfcodealign.ids import digest
from selfcodealign.ledger import code_of
from selfcodealign.sandbox.layers import candidates, sandbox_image
from selfcodealign.sandbox.settings import Settings

# As the sandbox starts it: neither PYTHONPATH nor the packages of a person's home count.
LIST = """
import os, sys
names = {n for p in sys.path if os.path.isdir(p) for n in os.listdir(p) if n.endswith((".dist-info", ".egg-info"))}
print(sys.version, *sorted(names), sep="\\n")
"""


def environment(settings: Settings, layer: str = "") -> str:
    """Name what runs programs under these settings.

    Args:
        settings: of the sandbox.
        layer: the layer that was chosen; by default the first that these settings allow here.

    Returns:
        A hash of the layer's name with the digest of its image or, on the host, the version and packages of Python.

    Raises:
        UserError: the image or the interpreter is not there.
    """
    layer = layer or next((one.name for one in candidates(settings)), "bubblewrap")
    image = sandbox_image(settings) if layer == "apptainer" else None
    if image is not None:
        return digest(layer, images.digest(str(image)), settings.python)
    return digest(layer, packages(settings.python or sys.executable))


def made_by(settings: Settings, layer: str) -> str:
    """Name all that a verdict depends on besides its case: what runs programs, and how the sandbox judges them."""
    room = Path(__file__).parent
    return digest(environment(settings, layer), code_of(*sorted(room.glob("inside/*.py")), *sorted(room.glob("*.py"))))


@cache
def packages(python: str) -> str:
    """Hash an interpreter's version and the names and versions of its installed packages.

    Raises:
        UserError: it does not start.
    """
    try:
        told = subprocess.run([python, "-s", "-E", "-c", LIST], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{python} is no working Python interpreter ({error}); correct the setting python") from error
    return digest(told)
