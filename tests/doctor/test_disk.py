"""What is measured of a disk, and what is left of the measuring."""

import errno
import os
import stat

import pytest

from cio_buffer.doctor import disk
from tests.support.clock import FakeClock


def test_a_folder_that_is_not_there_is_seen_by_the_nearest_above_it(tmp_path):
    seen = disk.see_folder(tmp_path / "a" / "b" / "outbox.db")
    assert (seen.there, seen.exists, seen.is_folder, seen.may_write) == (str(tmp_path), False, True, True)
    assert not (tmp_path / "a").exists()


def test_a_file_in_its_way_is_seen(tmp_path):
    (tmp_path / "a").touch()
    assert not disk.see_folder(tmp_path / "a" / "outbox.db").is_folder
    assert not disk.see_folder(tmp_path / "a" / "b" / "outbox.db").is_folder


def test_a_link_that_leads_nowhere_is_no_folder(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    assert not disk.see_folder(tmp_path / "a" / "outbox.db").is_folder


def test_the_stores_files_are_seen_with_their_modes_and_no_others(tmp_path):
    for name in ("outbox.db", "outbox.db-wal", "outbox.db.lock", "outbox.dbx", "other"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o640)
    tmp_path.chmod(0o750)
    seen = disk.see_folder(tmp_path / "outbox.db")
    assert [file.name for file in seen.files] == ["outbox.db", "outbox.db-wal", "outbox.db.lock"]
    assert {file.mode for file in seen.files} == {0o640}
    assert seen.mode == 0o750


class Ticking(FakeClock):
    """Each time it is asked, some time has passed."""

    tick_s = 0.001

    def monotonic(self):
        self.advance(self.tick_s)
        return super().monotonic()


def test_syncs_are_timed_on_a_scratch_file_that_is_gone_afterwards(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd)))
    seen = disk.see_syncs(tmp_path / "outbox.db", tmp_path, Ticking())
    assert len(synced) == 2 * disk.SYNCS
    assert {stat.S_IMODE(one.st_mode) for one in synced} == {0o600}
    assert all(one.st_nlink for one in synced)
    sizes = [one.st_size for one in synced]
    assert sizes[: disk.SYNCS] == [4096 * number for number in range(1, disk.SYNCS + 1)]  # appended
    assert set(sizes[disk.SYNCS :]) == {4096 * disk.SYNCS}  # written over
    assert seen.append_median_s == seen.overwrite_p99_s == pytest.approx(0.001)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_told_and_nothing_stays(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert disk.see_syncs(tmp_path / "outbox.db", tmp_path, Ticking()).problem == "Input/output error"
    assert list(tmp_path.iterdir()) == []


def test_whoever_interrupts_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdatasync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        disk.see_syncs(tmp_path / "outbox.db", tmp_path, Ticking())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_trouble(tmp_path):
    (tmp_path / "outbox.db.doctor").write_text("left")
    assert disk.see_syncs(tmp_path / "outbox.db", tmp_path, Ticking()).problem == ""
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_scratch_files_place_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "outbox.db.doctor").symlink_to(target)
    disk.see_syncs(tmp_path / "outbox.db", tmp_path, Ticking())
    assert target.read_text() == "precious"


def test_a_slow_disk_is_not_asked_fifty_times(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    clock = Ticking()
    clock.tick_s = 2.0
    assert disk.see_syncs(tmp_path / "outbox.db", tmp_path, clock).append_median_s == pytest.approx(2.0)
    assert len(synced) == 2 * (disk.SYNCS_MIN + 1)


def queue(folder, device, **words):
    place = folder / device
    (place / "queue").mkdir(parents=True)
    for name, word in words.items():
        (place / "queue" / name).write_text(f"{word}\n")
    return place


def test_a_cache_is_read_of_the_disk_also_for_a_partition(tmp_path):
    number = tmp_path.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    whole = queue(tmp_path, "disk", write_cache="write back", rotational=1)
    for target in (whole, whole / "part1"):
        target.mkdir(exist_ok=True)
        devices = tmp_path / f"dev-{target.name}"
        devices.mkdir()
        (devices / device).symlink_to(target)
        seen = disk.see_cache(tmp_path, devices)
        assert (seen.write_cache, seen.is_rotational) == ("write back", True)


def test_a_disk_that_the_kernel_does_not_know_says_nothing(tmp_path):
    assert disk.see_cache(tmp_path, tmp_path) == disk.CacheSeen()
