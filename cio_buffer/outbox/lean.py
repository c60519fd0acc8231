"""sqlite-utils without what it would load beside itself."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Have it look as if that module were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast("ModuleType", None)  # importing it now raises ModuleNotFoundError
    try:
        yield
    finally:
        del sys.modules[name]


with hidden("numpy"):  # where an app's environment has it, it would cost us 10 MB and 0.3 s at each start
    from sqlite_utils import Database, Migrations

__all__ = ["Database", "Migrations"]
