"""An upstream that does to the letter what a test says, and keeps what it was sent to the byte."""

import asyncio
from collections import deque
from contextlib import suppress

HANG_UP = None


class Upstream:
    """Answers each request with the next of `script`: bytes to be written, or HANG_UP. "bye" in bytes closes after."""

    def __init__(self):
        self.script = deque()
        self.received = []
        self.connections = 0
        self._servers = []
        self.holds = asyncio.Event()
        self.holds.set()

    async def start(self, **more):
        await self.start_at(0, **more)
        host, port = self._servers[-1].sockets[0].getsockname()
        self.url = f"{'https' if more else 'http'}://{host}:{port}"

    async def start_at(self, port, **more):
        """Listen there too."""
        self._servers.append(
            await asyncio.start_server(self._serve, "127.0.0.1", port, reuse_port=bool(port) or None, **more)
        )

    async def stop(self):
        for server in self._servers:
            server.close()
        self.holds.set()

    def will_say(self, *answers):
        self.script.extend(answers)

    async def say_unasked(self, answer):
        """On the connection that was opened last."""
        self._writer.write(answer)
        await self._writer.drain()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writer = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.received.append(await read_request(reader))
                await self.holds.wait()
                answer = self.script.popleft()
                if answer is HANG_UP:
                    break
                writer.write(answer)
                await writer.drain()
                if b"Connection: close" in answer:
                    break
        writer.close()


async def read_request(reader):
    """Head and body, as they came; a chunked body with its chunks taken out."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    if b"transfer-encoding: chunked" in lines:
        return head, await read_chunks(reader)
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


async def read_chunks(reader):
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


def saying(body=b"{}", status="200 OK", *headers):
    """An answer as bytes, with its length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
