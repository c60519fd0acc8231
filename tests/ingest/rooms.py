"""The rooms around ingest, reduced to what a test wants to see of them."""

import asyncio
import json

from aiohttp import web

from cio_buffer.outbox.names import Names

STAMP = 1_700_000_000


class StubOutbox:
    """Remembers what was appended, or raises what it is told to; `may_store` holds it up where it is cleared."""

    def __init__(self):
        self.names = Names(b"a store")
        self.entries = []
        self.calls = []
        self.lost_before = []
        self.noted_losses = []
        self.notes = 0
        self.trouble = None
        self.fails_once = False
        self.was_asked = asyncio.Event()
        self.may_store = asyncio.Event()
        self.may_store.set()

    async def append(self, entries, call=None):
        self.was_asked.set()
        await self.may_store.wait()
        if trouble := self.trouble:
            self.trouble = None if self.fails_once else trouble
            raise trouble
        self.entries += entries
        self.calls.append(call)
        return range(len(self.entries) - len(entries) + 1, len(self.entries) + 1)

    def unanswered(self):
        return self.lost_before

    def note_loss(self, call):
        self.noted_losses.append(call)

    def note_answers(self):
        self.notes += 1

    @property
    def said(self):
        return [json.loads(entry.body) for entry in self.entries]


class StubLogger:
    def __init__(self):
        self.told = []

    def warning(self, event, **fields):
        self.told.append((event, fields))


class StubRegion:
    """Customer.io, asked which region it is."""

    def __init__(self):
        self.asked = []

    async def forward(self, request, body):
        self.asked.append((request.method, request.raw_path, await body.read()))
        return web.json_response({"url": "https://track.customer.io", "region": "us", "environment_id": 3})
