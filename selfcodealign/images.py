"""Container images: where they lie, and the digest of each.

An image is a SIF file or a folder that Apptainer runs as it is. Nothing here needs more than the standard library,
because the sandbox and every start of Snakemake read this module.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from selfcodealign.errors import UserError
from selfcodealign.ids import digest_of_file

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = "containers/"
"""Images named like this are those of `make images`."""


def images_folder() -> Path:
    """Return where images are kept: `SELFCODEALIGN_IMAGES`, else a folder of a cache."""
    named = os.environ.get("SELFCODEALIGN_IMAGES")
    if named:
        return Path(named)
    # Root runs containers as another user, who cannot look into the home of root.
    return Path("/var/cache" if os.getuid() == 0 else Path.home() / ".cache") / "selfcodealign/images"


def locate(image: str) -> str:
    """Return the path of an image; an address such as docker://… and a path that leads nowhere stay as they are.

    `containers/NAME.sif` is looked for in the working folder, beside this code, and in the folder of images, there also
    as a folder NAME.
    """
    if "://" in image or Path(image).exists() or not image.startswith(SHIPPED):
        return image
    name = Path(image).name
    places = (ROOT / image, images_folder() / name, images_folder() / name.removesuffix(".sif"))
    return next((str(place) for place in places if place.exists()), image)


def digest(image: str) -> str:
    """Return the sha256 of an image, as `sha256:…`; of an address, what it says itself, which may be nothing.

    Hashing gigabytes takes a while, so it is done once: the result is kept beside the image, with its size and time.
    """
    if "://" in image:
        _, found, value = image.partition("@sha256:")
        return f"sha256:{value}" if found else ""
    path = Path(image).resolve()
    # A folder is complete when its stamp is there, and never changed afterwards.
    stamp = path / ".island" if path.is_dir() else path
    state = stamp.stat() if stamp.exists() else path.stat()
    identity = [state.st_size, state.st_mtime_ns, state.st_ino]
    kept = path.with_name(path.name + ".sha256.json")
    try:
        known = json.loads(kept.read_text())
        if known["identity"] == identity:
            return known["sha256"]
    except (OSError, ValueError, KeyError):
        pass
    value = "sha256:" + (_digest_of_folder(path) if path.is_dir() else digest_of_file(path))
    with suppress(OSError):  # Somebody else's folder: hash again the next time.
        kept.write_text(json.dumps({"sha256": value, "identity": identity}) + "\n")
    return value


def digests(named: Mapping[str, str]) -> list[str]:
    """Return the digests of the images that are there, as ISLAND=DIGEST words; `named` maps an island to its image."""
    there = {island: locate(image) for island, image in named.items()}
    return [f"{island}={digest(path)}" for island, path in there.items() if "://" in path or Path(path).exists()]


def entered(image: str, arguments: str) -> str:
    """Return the command with which a program of the host enters an image in the working folder.

    Args:
        image: path of the image.
        arguments: further words for apptainer, as a shell reads them.
    """
    return shlex.join(["apptainer", "exec", "--home", os.getcwd(), *shlex.split(arguments), image])


def _digest_of_folder(folder: Path) -> str:
    """Hash names and contents of all files and links, in order."""
    total = hashlib.sha256()
    for path in _files(folder):
        content = os.readlink(path) if path.is_symlink() else digest_of_file(path)
        total.update(f"{path.relative_to(folder)}\0{content}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted(files + links):
            path = Path(place, name)
            if path.is_symlink() or path.is_file():
                yield path


def check(containers: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Check that the images of a run are there and are the ones that the config wants; returns the digest of each.

    Args:
        containers: image of each island that the run uses, by the island's name.
        wanted: digest of each image that must not be another one.

    Raises:
        UserError: an image is missing or has another digest.
    """
    found = {}
    for island, image in containers.items():
        path = locate(image)
        if "://" not in path and not Path(path).exists():
            raise UserError(
                f"there is no image {image} of the island {island}, nor one in {images_folder()}: type `make images`, "
                f"or name an image in config key containers.{island}"
            )
        found[island] = digest(path)
        expected = wanted.get(island)
        if expected and found[island].removeprefix("sha256:") != expected.removeprefix("sha256:"):
            raise UserError(
                f"the image {path} has the digest {found[island] or '(none)'}, but key container_digests.{island}"
                f" wants {expected}: bring the image that the run is meant for, or correct it"
            )
    return found
