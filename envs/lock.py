"""Write the lock files from the packages of the running environment.

`python envs/lock.py [ISLAND…]` reads `envs/<island>.in` (the packages that an island imports, with their pins) and
writes `envs/<island>.txt`: those and everything they need, each with the version installed here. To change a pin,
install it, edit the `.in` file and run this again. CUDA runtime packages are left out: pip chooses them with torch.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

FOLDER = Path(__file__).parent
LEFT_TO_TORCH = re.compile(r"nvidia-|triton|cuda-")
HEADER = "# Written by `python envs/lock.py` from {source}; edit that file, not this one.\n"


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Return name → version of the packages and of everything they need on this platform."""
    found: dict[str, str] = {}
    queue = [(requirement.name, tuple(requirement.extras)) for requirement in wanted]
    seen = set()
    while queue:
        name, extras = queue.pop()
        key = (name.lower().replace("_", "-"), extras)
        if key in seen or LEFT_TO_TORCH.match(key[0]):
            continue
        seen.add(key)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[key[0]] = package.version.split("+")[0]
        for text in package.requires or ():
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments):
                queue.append((needed.name, tuple(needed.extras)))
    return found


def main() -> None:
    """Rewrite the lock files of the islands that the command line names, or every one that has an `.in` file."""
    named = [FOLDER / f"{name}.in" for name in sys.argv[1:]]
    for source in named or sorted(FOLDER.glob("*.in")):
        lines = [line.split("#")[0].strip() for line in source.read_text().splitlines()]
        wanted = [Requirement(line) for line in lines if line]
        pins = closure(wanted)
        for requirement in wanted:
            name = requirement.name.lower().replace("_", "-")
            if name not in pins:
                raise SystemExit(f"{source}: {requirement.name} is not installed here; install it first")
            if requirement.specifier and not requirement.specifier.contains(pins[name]):
                raise SystemExit(f"{source}: {requirement} asked for, {pins[name]} installed; make them agree")
        text = HEADER.format(source=source.name) + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))
        source.with_suffix(".txt").write_text(text)
        print(f"{source.with_suffix('.txt').name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
