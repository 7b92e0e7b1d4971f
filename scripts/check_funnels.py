"""Check that no row appears or vanishes anywhere between source file and dataset, and fail loudly if one does.

Three things must agree: every stage's own count (entered = kept + Σ dropped), neighbouring stages (what one produced
entered the next), and the files (as many rows in the parquet files as the funnel says).
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from selfcodealign.dataset.funnels import SUFFIX, Funnel, Link, leaks, read_funnels
from selfcodealign.errors import UserError
from selfcodealign.rows_io import count_rows, write_json
from selfcodealign.stage import run

log = logging.getLogger(__name__)


def miscounted(funnels: Iterable[Funnel]) -> list[str]:
    """Return one sentence for each branch whose files hold another number of rows than its funnel says."""
    found = []
    for funnel in funnels:
        for counted, suffix in ((funnel.produced, ".parquet"), (funnel.dropped.total(), ".dropped.parquet")):
            files = [path.with_name(path.name.removesuffix(SUFFIX) + suffix) for path in funnel.files]
            if not all(path.is_file() for path in files):
                continue  # build_dataset writes a folder; it is checked by whoever reads it.
            rows = count_rows(files)
            if rows != counted:
                found.append(f"{funnel.name}: the funnel says {counted} rows, the *{suffix} files hold {rows}")
    return found


def links_of(words: Iterable[str]) -> list[Link]:
    """Read links written BEFORE=AFTER, or BEFORE=AFTER@SHARDS where only the first so many seed shards count.

    Raises:
        UserError: a word is not of this form.
    """
    links = []
    for word in words:
        found = re.fullmatch(r"([^=@]+)=([^=@]+)(?:@(\d+))?", word)
        if not found:
            raise UserError(f"link {word!r} should be BEFORE=AFTER, for example judge_seeds=gather_seeds")
        links.append((found[1], found[2], int(found[3]) if found[3] else None))
    return links


def main(funnels: list[Path], totals: Path, *, links: list[str]) -> None:
    """Check that no row appears or vanishes anywhere between source file and dataset.

    Args:
        funnels: funnel files of every stage, shard and branch.
        totals: the funnels with shards added up, in the order of the data path (JSON).
        links: pairs BEFORE=AFTER of branches; what BEFORE produced must have entered AFTER. With @SHARDS at the end
            only the first so many shards count, because a dataset was made from them alone.

    Raises:
        UserError: a row appeared or vanished; the sentence says where.
    """
    read = read_funnels(funnels)
    wrong = leaks(read, links_of(links)) + miscounted(read.values())
    if wrong:
        raise UserError(f"the funnel does not conserve rows: {'; '.join(wrong)}")
    for funnel in read.values():
        log.info("%s", funnel)
    write_json(
        totals,
        [
            {
                "name": funnel.name,
                "stage": funnel.stage,
                "entered": funnel.entered,
                "kept": funnel.kept,
                "produced": funnel.produced,
                "dropped": dict(sorted(funnel.dropped.items())),
            }
            for funnel in read.values()
        ],
    )
    log.info("%d funnels of %d branches conserve every row", len(funnels), len(read))


if __name__ == "__main__":
    run(main)
