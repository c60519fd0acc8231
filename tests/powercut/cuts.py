"""Cuts the power at every point of a recording, and judges what may be left."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from tests.powercut.disk import Disk, Image, Operation, Resized, Written, sectors
from tests.powercut.judge import Judge
from tests.powercut.told import Expected, Expecting, Told

TORN = 3
"""So many random parts of what was not synced, at each point."""

THOROUGH_EACH = 50
"""Of so many images one is looked at in every way: 5 times dearer."""

BAD_KEPT = 3

Change = Written | Resized


class Recording(Struct, kw_only=True):
    """What was done to a disk that certainly had `start`, and what was said meanwhile."""

    story: str
    start: Image
    log: Sequence[Operation]
    told: Told


class Cut(Struct, frozen=True, kw_only=True):
    """A power cut after so many operations (`moment`). `kept` of what was not certain yet: "none", "all" or "torn"."""

    moment: int
    kept: str
    image: Image
    expected: Expected


class Bad(Struct, frozen=True, kw_only=True):
    """One after which something is wrong."""

    story: str
    cut: Cut
    problems: Sequence[str]


class Verdict(Struct, kw_only=True):
    """What came of a recording: how many `images` of each kind there were, how many of them bad, and the first few."""

    story: str
    operations: int
    images: Counter[str]
    bad_images: int = 0
    bad: list[Bad]


def judge_cuts(
    recording: Recording, judge: Judge, rng: random.Random, *, stride: int = 1, images_max: int | None = None
) -> Verdict:
    """Cut at each point, or with a `stride` at each so many-th from anywhere, until there were `images_max`."""
    verdict = Verdict(story=recording.story, operations=len(recording.log), images=Counter(), bad=[])
    for cut in cuts(recording, rng, stride):
        verdict.images[cut.kept] += 1
        total = verdict.images.total()
        problems = judge.problems(cut.image, cut.expected, is_thorough=total % THOROUGH_EACH == 0)
        if problems:
            verdict.bad_images += 1
            if len(verdict.bad) < BAD_KEPT:
                verdict.bad.append(Bad(story=recording.story, cut=cut, problems=problems))
        if total == images_max:
            break
    return verdict


def cuts(recording: Recording, rng: random.Random, stride: int) -> Iterator[Cut]:
    """Every power cut at each point, but for those that would leave and demand what the one before did."""
    disk, expecting = Disk(recording.start), Expecting(recording.told)
    version, is_none_new = -1, True
    offset = rng.randrange(stride)
    for moment, operation in enumerate(recording.log, 1):
        certain = disk.certainties
        disk.do(operation)
        expected = expecting.at(moment)
        is_none_new |= disk.certainties != certain or expecting.version != version
        version = expecting.version
        if moment % stride != offset or recording.told.is_blind(moment):
            continue
        for kept, image in images(disk, rng, is_none_new=is_none_new):
            yield Cut(moment=moment, kept=kept, image=image, expected=expected)
        is_none_new = False


def images(disk: Disk, rng: random.Random, *, is_none_new: bool) -> Iterator[tuple[str, Image]]:
    """What may be found of a disk: with nothing of what is not certain, with all of it, or with some."""
    if is_none_new:
        yield "none", disk.image(0, nothing)
    if disk.is_certain:
        return
    yield "all", disk.image(disk.names_pending, whole)
    pending = disk.pending()
    if disk.names_pending + sum(len(list(parts_of(change))) for change in pending) > 1:
        for _ in range(TORN):
            keep = rng.choice(WAYS)(pending, rng)
            yield "torn", disk.image(rng.randint(0, disk.names_pending), keep)


Keep = Callable[[Change], Iterator[Change]]


def nothing(_: Change) -> Iterator[Change]:
    return iter(())


def whole(change: Change) -> Iterator[Change]:
    return iter((change,))


def parts_of(change: Change) -> Iterator[Change]:
    """Of a write its sectors; a new size comes whole."""
    return iter((change,)) if isinstance(change, Resized) else sectors(change)


def scattered(_: Sequence[Change], rng: random.Random) -> Keep:
    """Each sector for itself."""
    share = rng.choice((0.1, 0.5, 0.9))
    return lambda change: (part for part in parts_of(change) if rng.random() < share)


def broken_off(pending: Sequence[Change], rng: random.Random) -> Keep:
    """All up to somewhere, and of that write a part."""
    last = rng.randrange(len(pending)) if pending else 0
    before = {id(change) for change in pending[:last]}

    def keep(change: Change) -> Iterator[Change]:
        if id(change) in before:
            yield change
        elif pending and change is pending[last]:
            parts = list(parts_of(change))
            yield from parts[: rng.randint(0, len(parts))]

    return keep


def all_but_one(pending: Sequence[Change], rng: random.Random) -> Keep:
    """One write is missing, or one sector of it."""
    missing = rng.choice(pending) if pending else None
    parts = len(list(parts_of(missing))) if missing else 0
    place = rng.randrange(parts) if missing and rng.random() < 0.5 else None

    def keep(change: Change) -> Iterator[Change]:
        if change is not missing:
            yield change
        elif place is not None:
            yield from (part for at, part in enumerate(parts_of(change)) if at != place)

    return keep


def only_one(pending: Sequence[Change], rng: random.Random) -> Keep:
    """The last to be written may be the first to arrive."""
    there = rng.choice(pending) if pending else None
    return lambda change: iter((change,) if change is there else ())


def file_by_file(pending: Sequence[Change], rng: random.Random) -> Keep:
    """One file's writes are all there, of another none."""
    names = {change.name for change in pending}
    there = {name for name in names if rng.random() < 0.5}
    return lambda change: iter((change,) if change.name in there else ())


WAYS = (scattered, scattered, broken_off, all_but_one, only_one, file_by_file)
