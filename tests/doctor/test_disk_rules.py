"""What is thought of a folder, its files, its disk."""

import msgspec
import pytest

from cio_buffer.doctor import disk_rules
from cio_buffer.doctor.disk import CacheSeen, FileSeen, FolderSeen, SpaceSeen, SyncsSeen

FOLDER = FolderSeen(path="/v/store", there="/v/store", is_folder=True, mode=0o700, is_ours=True, may_write=True)
GIB = 1 << 30


def folder(**fields):
    return msgspec.structs.replace(FOLDER, **fields)


@pytest.mark.parametrize(
    ("fields", "state", "told", "fix"),
    [
        ({}, "ok", "/v/store, mode 0700", ""),
        ({"is_ours": False}, "ok", "another user owns it", ""),
        ({"there": "/v", "mode": 0o755}, "ok", "does not exist; the daemon makes it", ""),
        ({"there": "/", "may_write": False}, "failed", "does not exist, and / cannot be written", "owner"),
        ({"may_write": False}, "failed", "/v/store cannot be written by this user", "owner"),
        ({"is_folder": False}, "failed", "/v/store is no folder", "outbox.path"),
        ({"there": "/v", "is_folder": False}, "failed", "/v is no folder", "outbox.path"),
        ({"mode": 0o750}, "warning", "others may look into /v/store (mode 0750)", "chmod 700 /v/store"),
        ({"mode": 0o701}, "warning", "mode 0701", "chmod"),
        ({"mode": 0o720}, "failed", "others may write in /v/store", "chmod"),
        ({"mode": 0o1777}, "failed", "others may write in /v/store (mode 1777)", "chmod"),
        ({"path": "/v/a b", "there": "/v/a b", "mode": 0o755}, "warning", "/v/a b", "chmod 700 '/v/a b'"),
    ],
)
def test_the_folder_is_for_its_owner_alone(fields, state, told, fix):
    judged = disk_rules.judge_folder(folder(**fields))
    assert (judged.name, judged.state) == ("store.folder", state)
    assert told in judged.seen
    assert fix in judged.fix
    assert bool(judged.fix) is (state != "ok")


@pytest.mark.parametrize(
    ("modes", "state"), [([], "ok"), ([0o600], "ok"), ([0o600, 0o644], "failed"), ([0o640], "failed"), ([0o400], "ok")]
)
def test_the_files_are_for_their_owner_alone(modes, state):
    files = [FileSeen(name=f"outbox.db-{number}", mode=mode) for number, mode in enumerate(modes)]
    judged = disk_rules.judge_files(folder(files=files))
    assert judged.state == state
    loose = [f"/v/store/outbox.db-{number}" for number, mode in enumerate(modes) if mode & 0o077]
    assert judged.fix == (f"chmod 600 {' '.join(loose)}" if loose else "")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("ext4", "ok"),
        ("xfs", "ok"),
        ("", "ok"),
        ("nfs4", "failed"),
        ("9p", "failed"),
        ("cifs", "failed"),
        ("tmpfs", "warning"),
        ("overlay", "warning"),
    ],
)
def test_the_filesystem_is_local_and_stays(kind, state):
    judged = disk_rules.judge_filesystem(kind)
    assert (judged.name, judged.state) == ("store.filesystem", state)
    assert kind in judged.seen
    assert ("dies with" in judged.seen) is (state == "warning")


@pytest.mark.parametrize(
    ("free", "used", "ballast", "state"),
    [
        (9 * GIB, 0, 0, "ok"),
        (6 * GIB, 0, 0, "ok"),  # 1 GiB to be kept free, 1 GiB of ballast, 4 GiB for the outbox
        (6 * GIB - 1, 0, 0, "warning"),
        (5 * GIB, 0, GIB, "ok"),  # the ballast is there
        (2 * GIB, 4 * GIB, 0, "ok"),  # all that the outbox may take is taken
        (2 * GIB, 5 * GIB, 0, "ok"),
        (2 * GIB, 0, 0, "warning"),
        (2 * GIB - 1, 9 * GIB, 0, "failed"),
        (GIB, 4 * GIB, GIB, "ok"),
        (GIB - 1, 4 * GIB, GIB, "failed"),
        (GIB, 4 * GIB, GIB - 1, "failed"),  # half a ballast is none
        (0, 0, 0, "failed"),
    ],
)
def test_the_disk_has_room_for_the_outbox_and_what_is_kept_free(free, used, ballast, state):
    seen = SpaceSeen(free=free, used=used, ballast=ballast, ballast_wanted=GIB)
    judged = disk_rules.judge_space(seen, free_min=GIB, bytes_max=4 * GIB)
    assert (judged.name, judged.state) == ("disk.space", state)
    assert ("disk_low" in judged.seen) is (state == "failed")


@pytest.mark.parametrize(
    ("overwrite_s", "append_s", "kind", "state", "told"),
    [
        (0.0002, 0.0004, "ext4", "ok", "200 µs over, 400 µs appended"),
        (0.000_020, 0.000_020, "ext4", "ok", ""),
        (0.000_019, 0.000_100, "ext4", "warning", "faster than any disk"),
        (0.000_100, 0.000_019, "ext4", "warning", "faster than any disk"),
        (0.000_001, 0.000_003, "tmpfs", "warning", "tmpfs is memory"),
        (0.020, 0.020, "ext4", "ok", ""),
        (0.021, 0.001, "ext4", "warning", "21.0 ms over"),
        (0.001, 0.5, "ext4", "warning", "apps wait so long"),
    ],
)
def test_a_sync_takes_as_long_as_it_must_and_not_much_longer(overwrite_s, append_s, kind, state, told):
    seen = SyncsSeen(append_median_s=append_s, append_p99_s=0.9, overwrite_median_s=overwrite_s, overwrite_p99_s=0.8)
    judged = disk_rules.judge_syncs(seen, kind)
    assert (judged.name, judged.state) == ("disk.sync", state)
    assert told in judged.seen
    assert "p99 800.0 ms and 900.0 ms" in judged.seen


def test_a_disk_that_takes_no_scratch_file_fails():
    judged = disk_rules.judge_syncs(SyncsSeen(problem="No space left on device"), "ext4")
    assert judged.state == "failed"
    assert "No space left on device" in judged.seen


@pytest.mark.parametrize("cache", ["write back", "write through", "", "something new"])
def test_a_cache_is_for_information_only(cache):
    assert disk_rules.judge_cache(CacheSeen(write_cache=cache, is_rotational=True)).state == "ok"
