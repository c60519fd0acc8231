"""HTTP byte for byte: what a well-behaved client library would not send."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

PATIENCE_S = 5.0


class Reply(NamedTuple):
    """An answer, taken apart. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def connect(address):
    """A connection to a (host, port), or to a UNIX socket's path."""
    opening = asyncio.open_connection(*address) if isinstance(address, tuple) else asyncio.open_unix_connection(address)
    reader, writer = await opening
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer
    finally:
        writer.close()


async def read_reply(reader, *, has_body: bool = True) -> Reply:
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", "0")) if has_body else 0
    return Reply(int(head.split()[1]), headers, await reader.readexactly(length))


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request as bytes. With `headers` of its own it has no others than these and the length."""
    lines = headers or ("Host: localhost",)
    length = () if any(line.lower().startswith(("content-length", "transfer-")) for line in lines) else (len(body),)
    head = [f"{method} {path} HTTP/1.1", *lines, *(f"Content-Length: {n}" for n in length)]
    return "\r\n".join([*head, "", ""]).encode(errors="surrogateescape") + body


async def ask(address, *sent: bytes, has_body: bool = True) -> Reply:
    """The answer to what was `sent`, on a connection of its own."""
    async with connect(address) as (reader, writer):
        writer.writelines(sent)
        return await read_reply(reader, has_body=has_body)


async def is_closed(reader) -> bool:
    """Whether the other side hangs up, without another word."""
    return await reader.read() == b""
