"""Fetch the data that benchmark programs load by name, for they run without a network.

Run it with the interpreter of the benchmark's pins: data go under its prefix, where nltk looks by itself and where the
judges point seaborn and scikit-learn. What cannot be fetched is named, and the exit status is 1; nothing is half
written.
"""

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CORPORA = ("punkt", "punkt_tab", "wordnet", "stopwords", "averaged_perceptron_tagger", "words", "vader_lexicon")
DATASETS = ("exercise", "penguins", "planets", "tips")
"""What DS-1000's problems load of seaborn's data."""


def nltk_data(folder: Path) -> None:
    """Fetch the corpora of ClassEval and BigCodeBench into a folder."""
    import nltk

    missing = [name for name in CORPORA if not nltk.download(name, download_dir=str(folder), quiet=True)]
    if missing:
        raise OSError(f"nltk has no {', '.join(missing)}")


def seaborn_data(folder: Path) -> None:
    """Fetch the tables of DS-1000's plots into a folder."""
    import seaborn

    for name in DATASETS:
        seaborn.load_dataset(name, data_home=str(folder))


def scikit_learn_data(folder: Path) -> None:
    """Fetch the one data set of DS-1000's models into a folder."""
    from sklearn.datasets import fetch_california_housing

    fetch_california_housing(data_home=str(folder))


FETCHED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nltk_data": ("nltk", nltk_data),
    "seaborn_data": ("seaborn", seaborn_data),
    "scikit_learn_data": ("sklearn", scikit_learn_data),
}


def main() -> int:
    """Fetch each folder that is not there yet and whose package is installed."""
    socket.setdefaulttimeout(60)
    failed = 0
    for name, (package, fetch) in FETCHED.items():
        target = Path(sys.prefix) / name
        if target.exists() or importlib.util.find_spec(package) is None:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            fetch(unfinished)
        except Exception as error:
            shutil.rmtree(unfinished)
            print(f"no {name}: {error}; programs that load it fail until `{sys.executable} {__file__}` has fetched it")
            failed = 1
        else:
            unfinished.chmod(0o755)
            os.replace(unfinished, target)
    return failed


if __name__ == "__main__":
    sys.exit(main())
