"""Compile hot loops with numba, once for all jobs of a machine."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _choose_cache() -> None:
    """Send numba's cache to a temporary folder where the package's own is read-only, as in a container."""
    if "NUMBA_CACHE_DIR" not in os.environ and not os.access(Path(__file__).parent, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"selfcodealign-numba-{os.getuid()}")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers to machine code; integers wrap around as in C."""
    _choose_cache()
    import numba

    return numba.njit(cache=True, nogil=True, boundscheck=False)(function)
