"""`cio-buffer demo`: a stranger's first minute."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.process import clean_environ

BOOKS = re.compile(r"ledger: accepted (\d+) = delivered (\d+) \+ dead lettered (\d+) \+ still held 0")


@contextmanager
def demo(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """The demo, without a terminal, in a process group of its own. What is left of it ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cio_buffer", "demo"],
        env=clean_environ() | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
            for pid in those_at_work_in(folder):
                os.kill(pid, signal.SIGKILL)


def those_at_work_in(folder: Path) -> list[int]:
    """The processes that were started with something in `folder`, as the demo's daemon is with its config."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended just now
            if os.fsencode(folder) in place.read_bytes():
                found.append(int(place.parent.name))
    return found


def test_it_ends_by_itself_with_books_that_add_up_and_leaves_nothing(folder: Path) -> None:
    began = time.monotonic()
    with demo(folder) as process:
        out, _ = process.communicate(timeout=60)
        took_s = time.monotonic() - began
        assert process.returncode == 0, out
        assert those_at_work_in(folder) == []
    books = BOOKS.fullmatch(out.splitlines()[-1])
    assert books, out
    accepted, delivered, dead = map(int, books.groups())
    assert "1 mail went straight through, once" in out
    assert accepted == delivered + dead > 150
    assert dead == 1
    assert "\x1b[" not in out  # no terminal, no colours
    assert "Traceback" not in out
    assert list(folder.iterdir()) == []
    assert took_s < 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_nothing_when_it_is_interrupted_either(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole group, a SIGTERM or a closed terminal only the demo itself."""
    with demo(folder) as process:
        assert process.stdout
        while "accepted" not in process.stdout.readline():
            assert process.poll() is None
        if number is signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(10) != 0
        assert those_at_work_in(folder) == []
        assert "Traceback" not in process.stdout.read()
    assert list(folder.iterdir()) == []
