"""A few of the power cuts that `python -m tests.powercut` makes, and what they have to find."""

import random
from types import ModuleType

import pytest

from tests.powercut.cuts import images
from tests.powercut.disk import Deleted, Disk, Dropped, FolderSynced, Made, Renamed, Resized, Synced, Written
from tests.powercut.guards import GUARDS
from tests.powercut.library import NotHere, check_shared, load_apsw
from tests.powercut.runs import Run, run
from tests.powercut.stories import STORIES

try:
    load_apsw()
    WHY_NOT = ""
except NotHere as why:
    WHY_NOT = str(why)

needs_apsw = pytest.mark.skipif(bool(WHY_NOT), reason=f"power cuts cannot be simulated here: {WHY_NOT}")
IMAGES, STRIDE = 60, 23
TRIES = 12


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    return seed


@needs_apsw
@pytest.mark.parametrize("story", STORIES)
def test_a_power_cut_loses_nothing_that_was_acknowledged(story: str, seed: int) -> None:
    verdict = run(Run(story=story, seed=seed, stride=STRIDE, images_max=IMAGES))
    assert verdict.images.total() > 0
    assert [(one.cut.moment, one.cut.kept, one.problems) for one in verdict.bad] == []


@needs_apsw
@pytest.mark.parametrize("guard", GUARDS)
def test_what_is_done_for_power_cuts_sake_is_missed_where_it_is_not_done(guard: str, seed: int) -> None:
    tries = (Run(story=GUARDS[guard].story, seed=seed + n, guard=guard, stride=7, images_max=200) for n in range(TRIES))
    assert any(run(one).bad_images for one in tries)


def test_a_library_with_another_sqlite_is_refused() -> None:
    """In it the store would run on no disk of ours, and nothing would ever be found missing."""
    apsw = ModuleType("apsw")
    vars(apsw)["sqlitelibversion"] = lambda: "3.0.0"
    with pytest.raises(NotHere, match=r"SQLite 3\.0\.0"):
        check_shared(apsw)


def found(disk: Disk) -> list[dict[str, bytes | None]]:
    """Some of what a power cut may leave."""
    return [image for _, image in images(disk, random.Random(1), is_none_new=True)]


def test_what_was_synced_is_there() -> None:
    disk = Disk({})
    for operation in (Made("a"), Written("a", 2, b"x"), Synced("a"), FolderSynced("")):
        disk.do(operation)
    assert found(disk) == [{"a": b"\0\0x"}]


def test_what_was_not_may_be_there_in_part() -> None:
    disk = Disk({"a": b"-" * 1_536})
    disk.do(Written("a", 256, b"x" * 1_024))
    there = [image["a"] for image in found(disk)]
    assert there[:2] == [b"-" * 1_536, b"-" * 256 + b"x" * 1_024 + b"-" * 256]
    assert all(len(set(image[512:1_024])) == 1 for image in there[2:] if image)  # a sector comes whole or not at all


def test_a_failed_sync_takes_what_was_to_be_written() -> None:
    disk = Disk({"a": b"--"})
    for operation in (Written("a", 0, b"x"), Dropped("a"), Written("a", 1, b"y"), Synced("a")):
        disk.do(operation)
    assert found(disk) == [{"a": b"-y"}]


def test_names_are_certain_once_their_folder_was_synced() -> None:
    disk = Disk({"a": b"a", "b": b"b", "folder": None})
    disk.do(Renamed("a", "folder/a"))
    disk.do(Deleted("b"))
    nothing, everything = disk.image(0, lambda _: iter(())), disk.image(2, lambda _: iter(()))
    assert (nothing, everything) == ({"a": b"a", "b": b"b", "folder": None}, {"folder/a": b"a", "folder": None})
    disk.do(FolderSynced("folder"))
    assert disk.image(0, lambda _: iter(())) == {"folder/a": b"a", "b": b"b", "folder": None}
    disk.do(FolderSynced(""))
    assert found(disk) == [{"folder/a": b"a", "folder": None}]


def test_a_file_that_was_made_shorter_and_longer_has_zeros_there() -> None:
    disk = Disk({"a": b"abcdef"})
    for operation in (Resized("a", 2), Resized("a", 4), Synced("a")):
        disk.do(operation)
    assert found(disk) == [{"a": b"ab\0\0"}]
