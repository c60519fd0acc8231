"""Real SDKs before the real daemon, with a simulated Customer.io behind it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.sdk.nodejs import Node, install, running_node
from tests.sdk.roads import Roads, two_roads


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's: a socket's path may have 107 characters at most, and nothing is to stay behind."""
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        yield Path(folder)


@pytest.fixture
async def roads(folder: Path) -> AsyncIterator[Roads]:
    async with two_roads(folder) as roads:
        yield roads


@pytest.fixture(scope="session")
def installed_node() -> None:
    install()


@pytest.fixture
async def node(installed_node: None) -> AsyncIterator[Node]:
    async with running_node() as node:
        yield node
