"""`cio-buffer run`."""

import gc
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

from cio_buffer import daemon
from cio_buffer.cli import complain
from cio_buffer.clock import SystemClock
from cio_buffer.config import Config, ConfigError, find, load, render
from cio_buffer.errors import StoreHeld, StoreUnusable, UnknownGroup, UnknownUser, UnusableCertificate
from cio_buffer.telemetry import log

FAILED, UNUSABLE_STORE, HELD_STORE, NOT_PERMITTED, BAD_CONFIG = 1, 74, 75, 77, 78
"""Exit codes, as in sysexits.h."""

GARBAGE_THRESHOLDS = (20_000, 50, 100)
"""How rarely Python looks for cycles. Its own 700, with thousands of entries in hand, took 9 of the 70 µs of a call."""


def run(config_path: Path | None) -> int:
    """Run the daemon; returns its exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens: a reload must not end what has just begun
    try:
        path = find(config_path, os.environ)
        config = load(path, os.environ)
    except ConfigError as mistakes:
        click.echo(render(mistakes.problems), err=True)
        return BAD_CONFIG
    return serve(config, lambda: load(path, os.environ))


def serve(config: Config, load_again: Callable[[], Config]) -> int:
    """Run the daemon with a config that has passed every check; returns its exit code.

    `load_again` reads the same sources anew, for SIGHUP.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys and payloads
    gc.freeze()  # what is imported stays
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    logger = log.configure(config.log.level, config.log.format, sys.stderr, SystemClock())
    try:
        running = daemon.run(config, load_again=load_again, clock=SystemClock(), chance=random.Random(), logger=logger)
        uvloop.run(running)
    except StoreHeld as problem:
        complain(
            str(problem),
            "two daemons on one store would send everything twice",
            "stop the other one, or give this one an outbox.path of its own",
        )
        return HELD_STORE
    except StoreUnusable as problem:
        complain(str(problem), "nothing can be promised without a store", "look at outbox.path in the config")
        return UNUSABLE_STORE
    except UnknownGroup as problem:
        complain(str(problem), "nobody could be let in through listen.unix_path", "make it, or mend listen.unix_group")
        return BAD_CONFIG
    except UnknownUser as problem:
        complain(str(problem), "nobody would know whom to let in", "mend listen.unix_users, or leave it empty")
        return BAD_CONFIG
    except UnusableCertificate as problem:
        complain(
            str(problem),
            "listen.https_address needs both, as PEM files without a password that the daemon may read",
            "make them with openssl, as the README shows, or leave https_address empty",
        )
        return BAD_CONFIG
    except PermissionError as problem:
        complain(
            f"cannot open {problem.filename or 'a socket'} (permission denied)",
            "apps and operators reach the daemon there",
            "run as the user that owns its folder, or change listen.unix_path and admin.unix_path",
        )
        return NOT_PERMITTED
    except OSError as problem:
        complain(f"cannot open a socket: {problem}", "apps reach the daemon there", "look at [listen] and [admin]")
        return FAILED
    return 0
