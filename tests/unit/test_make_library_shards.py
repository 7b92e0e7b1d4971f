"""Raw shards of the installed code hold what may be published, and the same bytes each time."""

import sysconfig
from importlib.metadata import PathDistribution
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import make_library_shards as shards
from selfcodealign.config.seeds import Columns, MakeLibraryShards
from selfcodealign.errors import UserError
from selfcodealign.seeds.raw import read_files

FILES = 20


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Let the stage see a part of the standard library and one package; the run of SmolLM2 takes all there is."""
    folder = tmp_path_factory.mktemp("installed")
    installed(folder, "free", "License-Expression: MIT")
    places = {
        "stdlib": str(Path(sysconfig.get_path("stdlib"), "email")),
        "purelib": str(folder),
        "platlib": str(folder),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "sysconfig", SimpleNamespace(get_path=places.__getitem__))
        yield


@pytest.fixture(scope="module")
def written(here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    paths = [folder / "00000.parquet", folder / "00001.parquet"]
    shards.main(paths, settings=MakeLibraryShards(files=FILES))
    return paths


def installed(folder, name, *metadata):
    """Lay a package of one module into a folder."""
    (folder / f"{name}.py").write_text("x = 1\n" * 200)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *metadata]))
    (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n../../bin/{name}.py,,\n")
    return info


def test_the_shards_are_read_as_raw_files_and_share_them_evenly(written):
    found = [list(read_files(str(path), Columns())) for path in written]
    assert [len(files) for files in found] == [FILES / 2, FILES / 2]
    files = [file for shard in found for file in shard]
    assert len({(file.repo, file.path) for file in files}) == FILES
    assert all(file.content and file.licence and file.path.endswith(".py") for file in files)


def test_the_bytes_are_the_same_when_they_are_written_again(here, written, tmp_path):
    again = [tmp_path / path.name for path in written]
    shards.main(again, settings=MakeLibraryShards(files=FILES))
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        pytest.param(["License-Expression: MIT", "License: other"], "MIT", id="expression"),
        pytest.param(["Classifier: License :: OSI Approved :: BSD License"], "BSD License", id="classifier"),
        pytest.param(["License: Apache 2.0"], "Apache 2.0", id="text"),
        pytest.param([], "", id="none"),
    ],
)
def test_a_licence_is_read_off_the_metadata(tmp_path, metadata, licence):
    assert shards.licence_of(PathDistribution(installed(tmp_path, "one", *metadata))) == licence


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        pytest.param("BSD-3-Clause AND 0BSD AND MIT", True, id="several"),
        pytest.param("Apache Software License", True, id="apache"),
        pytest.param("MIT OR GPL-2.0-only", False, id="a-choice-with-gpl"),
        pytest.param("LGPLv3", False, id="lgpl"),
        pytest.param("Mozilla Public License 2.0 (MPL 2.0)", False, id="mpl"),
        pytest.param("Proprietary", False, id="proprietary"),
        pytest.param("", False, id="none"),
    ],
)
def test_only_code_under_a_permissive_licence_is_taken(licence, permissive):
    assert shards.is_permissive(licence) is permissive


def test_packages_give_their_modules_and_not_their_commands(tmp_path):
    installed(tmp_path, "free", "License-Expression: MIT")
    installed(tmp_path, "closed", "License-Expression: LicenseRef-Secret")
    assert list(shards.packages([tmp_path])) == [("free", "free.py", "MIT", tmp_path / "free.py")]


@pytest.mark.parametrize(
    ("parts", "size", "reason"),
    [
        pytest.param(("a", "b.py"), 1_000, None, id="kept"),
        pytest.param(("a", "tests", "b.py"), 1_000, "tests", id="folder-of-tests"),
        pytest.param(("a", "test_b.py"), 1_000, "tests", id="test-module"),
        pytest.param(("a", "b.py"), 499, "size", id="small"),
        pytest.param(("a", "b.py"), 60_001, "size", id="large"),
    ],
)
def test_a_module_is_left_out_by_its_place_and_size(parts, size, reason):
    assert shards.why_left_out(parts, size, MakeLibraryShards()) == reason


def test_too_few_modules_are_named(here, tmp_path):
    with pytest.raises(UserError, match="modules of a fitting size, not 10000000; lower make_library_shards.files"):
        shards.main([tmp_path / "0.parquet"], settings=MakeLibraryShards(files=10_000_000))
