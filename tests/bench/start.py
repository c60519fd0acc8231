"""How soon after its exec the daemon is ready, against Python with the same libraries."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.backlog import write
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, NOWHERE
from tests.bench.report import Failed, Goal, Outcome, compare
from tests.support.process import Daemon

GOAL = Goal(ours_max=1.0)
PATIENCE_S, POLL_S = 30.0, 0.002
LIBRARIES = "import aiohttp.web, click, msgspec, sqlite3, cio_buffer.outbox.lean, structlog, uvloop, os; os._exit(0)"
FLOOR = "Python and the libraries"
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def run(plan: Plan, folder: Path) -> Outcome:
    (folder / "empty").mkdir()
    write(folder / "pending", plan.pending_entries)
    empty_s, pending_s, floor_s = [], [], []
    for _ in range(plan.start_rounds):
        floor_s.append(import_s())
        empty_s.append(start_s(folder / "empty"))
        pending_s.append(start_s(folder / "pending"))
    return Outcome(
        [
            compare("start, empty", "s", empty_s, floor_s, limit_is=FLOOR),
            compare(f"start, {plan.pending_entries:,} pending", "s", pending_s, floor_s, limit_is=FLOOR, goal=GOAL),
        ],
        [f"start: from exec to the first 200 of /readyz; {plan.start_rounds} starts after polite stops, files cached"],
    )


def import_s() -> float:
    """What nothing of ours can be faster than."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.perf_counter() - began_s


def start_s(folder: Path) -> float:
    """Start the daemon in `folder`, and stop it once it is ready."""
    config = Daemon(folder, NOWHERE).config
    command = [sys.executable, "-m", "cio_buffer", "run", "--config", str(config)]
    with (folder / "daemon.log").open("ab") as log:
        began_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | AS_SHIPPED)
    try:
        while not is_ready(folder / "api.sock"):
            if process.poll() is not None or time.perf_counter() - began_s > PATIENCE_S:
                raise Failed(f"the daemon did not become ready: {(folder / 'daemon.log').read_text()}")
            time.sleep(POLL_S)
        took_s = time.perf_counter() - began_s
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    return took_s


def is_ready(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        try:
            sock.connect(str(path))
            sock.sendall(READY)
            return sock.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
