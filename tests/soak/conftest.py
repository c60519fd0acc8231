"""A folder with a short name: sockets are in it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cio-soak-") as folder:
        yield Path(folder)
