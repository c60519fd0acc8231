"""Finds the library by which a virtual file system reaches plain `sqlite3`: Debian's python3-apsw.

It works only where both modules use one and the same libsqlite3, and are built for the same Python. PyPI's apsw brings
an SQLite of its own, in which nothing of ours runs.
"""

import sqlite3
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

PLACES = (Path("/usr/lib/python3/dist-packages"),)
"""Where Debian puts it. It is loaded by its path: that folder in `sys.path` would bring all else that is in it."""


class NotHere(Exception):
    """The suite cannot run in this interpreter; says why."""


def load_apsw() -> ModuleType:
    """Raises NotHere."""
    if found := sys.modules.get("apsw"):
        return check_shared(found)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    candidates = [place / name for place in PLACES for name in (f"apsw/__init__{suffix}", f"apsw{suffix}")]
    file = next((file for file in candidates if file.exists()), None)
    if file is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NotHere(f"Debian's python3-apsw is not installed, or is for another Python than this {python}")
    spec = spec_from_file_location("apsw", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["apsw"] = module
    spec.loader.exec_module(module)
    return check_shared(module)


def check_shared(apsw: ModuleType) -> ModuleType:
    """A VFS that one of the two registers has to be known to the other."""
    theirs, ours = apsw.sqlitelibversion(), sqlite3.sqlite_version
    if theirs != ours:
        raise NotHere(f"apsw uses SQLite {theirs}, this Python's sqlite3 another one, {ours}")
    probe = apsw.VFS("powercut-probe", "")
    try:
        sqlite3.connect("file:?vfs=powercut-probe", uri=True).close()
    except sqlite3.OperationalError:
        raise NotHere(f"apsw and sqlite3 each have a copy of SQLite {ours} of their own") from None
    finally:
        probe.unregister()
    return apsw
