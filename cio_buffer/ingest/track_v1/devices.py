"""Devices that push messages go to."""

import re

import msgspec
from msgspec import Raw, Struct

from cio_buffer.ingest.reading import NULL, read, read_body, read_fields
from cio_buffer.ingest.track_v1.call import V1Call, as_segment, check, read_segment
from cio_buffer.operations import DEVICE_TOKEN_MAX_BYTES
from cio_buffer.outbox.entry import NewEntry

PLATFORM_MAX_BYTES = 100
"""Our own bound, so that it is not empty either: Customer.io knows two, both short."""

PLATFORMS = {"ios", "android"}
DEVICE_FIELDS = {"id", "platform", "last_used", "attributes"}
SECONDS = re.compile(rb'"?(-?(?:0|[1-9]\d*))"?')
"""A whole number, or one written as text, as one SDK does."""


class Device(Struct, frozen=True):
    """A device as v1 has it; what v2 calls `token` is its `id`."""

    id: str
    platform: str


class DeviceBody(Struct, frozen=True):
    device: Device


class RawDevice(Struct, frozen=True):
    device: dict[str, Raw]


BODY, RAW_BODY = msgspec.json.Decoder(DeviceBody), msgspec.json.Decoder(RawDevice)


def add_device(call: V1Call) -> list[NewEntry]:
    """Add or update a device."""
    person = call.person()
    fields = read_fields(call.body)
    device = read_body(BODY, call.body).device
    check("device.id", device.id, DEVICE_TOKEN_MAX_BYTES)
    check("device.platform", device.platform, PLATFORM_MAX_BYTES)
    is_sure = fields.keys() == {"device"} and device.platform in PLATFORMS
    said = device_in_v2(read(RAW_BODY, call.body).device) if is_sure else {}
    if said and (body := call.about(person, "add_device", device=said)):
        return [call.acceptance.entry("add_device", person.lanes(), body)]
    return [call.as_it_was("add_device", person.lanes(), f"{person.path}/devices")]


def device_in_v2(device: dict[str, Raw]) -> dict[str, Raw]:
    """A device in v2's words; empty where something about it is in doubt. What is null is left out."""
    given = {name: value for name, value in device.items() if value != NULL}
    seconds = SECONDS.fullmatch(bytes(given.get("last_used", b"0")))
    is_object = bytes(given.get("attributes", b"{}")).startswith(b"{")
    if not (device.keys() <= DEVICE_FIELDS and seconds and is_object):
        return {}
    said = {"token": given.pop("id"), **given}
    return said | ({"last_used": Raw(seconds[1])} if "last_used" in given else {})


def delete_device(call: V1Call) -> list[NewEntry]:
    """Remove a device. Its token is decoded once: what an SDK encodes twice stays encoded once, as ever."""
    person = call.person()
    token = read_segment(call.named[1], "device_id", "The device's id")
    check("device_id", token, DEVICE_TOKEN_MAX_BYTES)
    if body := call.about(person, "delete_device", device={"token": token}):
        return [call.acceptance.entry("delete_device", person.lanes(), body)]
    return [call.as_it_was("delete_device", person.lanes(), f"{person.path}/devices/{as_segment(token, 'device_id')}")]
