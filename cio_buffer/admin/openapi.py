"""The local API as an OpenAPI 3.1 document: made from the Structs that read its bodies and from its table of calls."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cio_buffer import __version__
from cio_buffer.admin.routes import Alive, Readiness
from cio_buffer.admin.wrong import Wrong
from cio_buffer.http.answers import Complaint, Complaints, Refusals, Taken
from cio_buffer.ingest.routes import REGION, V2_BATCH, V2_ENTITY
from cio_buffer.ingest.taken import RECEIPT
from cio_buffer.ingest.track_v1.call import CUSTOMERS
from cio_buffer.ingest.track_v1.calls import (
    BY_PATH,
    FORMS,
    OF_A_PERSON,
    SEGMENTS,
    UNDER_A_NAME,
    UNSUBSCRIBE,
    UNSUBSCRIBED,
    Found,
)
from cio_buffer.operations import DECODERS, DeliveryEvent, ObjectOperation, PersonOperation
from cio_buffer.passthrough import APP_ROOT

Json = dict[str, Any]

OPERATIONS: dict[str, Any] = {"person": PersonOperation, "object": ObjectOperation, "delivery": DeliveryEvent}
ANSWERS = (Taken, Complaint, Complaints, Refusals, Alive, Readiness, Wrong)
NAMES_OF_ONE = {"PersonIdentifiers", "MergeIdentifiers"}
"""What Python checks beyond its types: exactly one name, and not an empty one."""

ONE_NAME = {"minProperties": 1, "maxProperties": 1, "additionalProperties": False}
SEGMENT = {"type": "string", "minLength": 1, "maxLength": 150}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_999}
PARAMETERS: dict[str, Json] = {
    "identifier": {"description": "An id, an email, or `cio_` and a cio_id", "schema": SEGMENT},
    "device_id": {"schema": SEGMENT},
    "form_id": {"schema": SEGMENT},
    "segment_id": {"schema": NUMBER},
    "delivery_id": {"schema": SEGMENT},
    "path": {"description": "Whatever Customer.io's App API has", "schema": {"type": "string", "minLength": 1}},
}
ID_TYPE = {"name": "id_type", "in": "query", "schema": {"enum": ["id", "email", "cio_id"], "default": "id"}}
REFUSED = {
    "400": "What was asked for is not complete or not valid",
    "401": "The credentials are missing or not those of this workspace",
    "403": "Browsers and foreign hosts are kept out",
    "404": "There is no such call",
    "408": "The body was not whole in time",
    "413": "The body is too large",
    "415": "The body is compressed",
    "503": "It could not be stored; `Retry-After` says when to ask again",
}
APP_REFUSED = {
    "408": "The body was not whole in time, so nothing was carried out",
    "421": "Customer.io redirects: the region is not the workspace's",
    "503": "Customer.io cannot be reached, and nothing was sent",
}
ONE_RECEIPT = "[0-9A-HJKMNP-TV-Z]{13,25}"
RECEIPTS: Json = {
    "headers": {
        RECEIPT: {
            "description": "Names what was stored: a receipt, or the first and the last of several, which are"
            " consecutive. Absent where nothing was stored now",
            "schema": {"type": "string", "pattern": rf"^{ONE_RECEIPT}(\.\.{ONE_RECEIPT})?$"},
        }
    }
}
UNKNOWN = "Nobody knows whether Customer.io carried it out, so it is not sent again"
APP_METHODS = ("get", "post", "put", "patch", "delete")


def document() -> Json:
    """The whole document, as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cio_buffer",
            "version": __version__,
            "summary": "Customer.io's Track API, on disk before the answer, and its App API, passed straight through",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://127.0.0.1:8246"}],
        "security": [{"track": []}],
        "paths": merged([*v1_calls(), *v2_calls(), *app_calls(), *probes()]),
        "components": {
            "securitySchemes": {
                "track": {"type": "http", "scheme": "basic", "description": "Site id and Track API key, or local key"},
                "app": {"type": "http", "scheme": "bearer", "description": "App API key, or local key"},
            },
            "schemas": schemas(),
        },
    }


def schemas() -> Json:
    """Every Struct that is read or written, by its name."""
    bodies = [found.body for found in (*all_found(), UNSUBSCRIBED) if found.body]
    _, components = msgspec.json.schema_components(
        [*OPERATIONS.values(), *bodies, *ANSWERS], schema_hook=anything, ref_template="#/components/schemas/{name}"
    )
    for name in NAMES_OF_ONE:
        components[name] |= ONE_NAME | {"properties": dict.fromkeys(components[name]["properties"], SEGMENT)}
    for component in components.values():
        component["description"] = " ".join(component.get("description", "").split())
    return {**components, "Operation": {"anyOf": [operation_of(kind) for kind in DECODERS]}}


def anything(kind: type) -> Json:
    """What we pass on without looking at its type."""
    if kind is object:
        return {"description": "Anything"}
    raise NotImplementedError(kind)


def operation_of(kind: str) -> Json:
    """A v2 operation on one type of thing."""
    (schema,), _ = msgspec.json.schema_components(
        [OPERATIONS[kind]], schema_hook=anything, ref_template="#/components/schemas/{name}"
    )
    return {"allOf": [{"properties": {"type": {"const": kind}}, "required": ["type"]}, schema]}


def all_found() -> Iterator[Found]:
    for table in (OF_A_PERSON, BY_PATH, UNDER_A_NAME):
        yield from table.values()


def v1_calls() -> Iterator[tuple[str, str, Json]]:
    """Each v1 call, as (path, method, operation)."""
    for (method, tail), found in OF_A_PERSON.items():
        path = f"{CUSTOMERS}{{identifier}}/{tail.replace('*', '{device_id}')}".removesuffix("/")
        yield path, method.lower(), call(path, method, found)
    for path, found in BY_PATH.items():
        yield path, "post", call(path, "POST", found)
    for (head, tail), found in UNDER_A_NAME.items():
        path = f"{head}{ {FORMS: '{form_id}', SEGMENTS: '{segment_id}'}[head] }/{tail}"
        yield path, "post", call(path, "POST", found, *([ID_TYPE] if head == SEGMENTS else []))
    path = f"{UNSUBSCRIBE}{{delivery_id}}"
    yield path, "post", call(path, "POST", UNSUBSCRIBED)
    told = {
        **answers(Complaint),
        **unknown(),
        "200": {"description": "Its answer", "content": {"application/json": {}}},
    }
    region = operation(REGION, "GET", "Say in which region the workspace lives", told)
    yield REGION, "get", region | {"description": "Asked of Customer.io at once."}


def v2_calls() -> Iterator[tuple[str, str, Json]]:
    items = {"type": "array", "items": ref("Operation"), "minItems": 1}
    batch: Json = {"type": "object", "required": ["batch"], "properties": {"batch": items}}
    partly = {"207": in_json("Some operations were refused, all the others are stored", Refusals) | RECEIPTS}
    for path, does, body, more in (
        (V2_ENTITY, "Take one operation", ref("Operation"), {}),
        (V2_BATCH, "Take many operations, each judged by itself", batch, partly),
    ):
        yield path, "post", operation(path, "POST", does, {**answers(Complaints), **more}) | requiring(body)


def app_calls() -> Iterator[tuple[str, str, Json]]:
    path = f"{APP_ROOT}{{path}}"
    for method in APP_METHODS:
        ours = {code: in_json(why, Complaint) for code, why in APP_REFUSED.items()}
        told = {**ours, **unknown(), "default": {"description": "Whatever Customer.io answers"}}
        said = operation(path, method, "Pass an App API call on, once", told)
        said["security"] = [{"app": []}]
        if method != "get":
            said["requestBody"] = {"content": {"application/json": {}}}
        yield path, method, said


def probes() -> Iterator[tuple[str, str, Json]]:
    for path, does, good, bad in (
        ("/healthz", "Whether a restart would not help", Alive, Wrong),
        ("/readyz", "Whether an operation sent now would be stored", Readiness, Readiness),
    ):
        told = {"200": in_json("Yes", good), "503": in_json("No", bad)}
        yield path, "get", operation(path, "GET", does, told) | {"security": []}


def call(path: str, method: str, found: Found, *query: Json) -> Json:
    """A v1 call."""
    said = operation(path, method, found.does, answers(Complaint), *query)
    if not found.needs_key:
        said["security"] = []
    return said | (taking(found.body) if found.body else {})


def operation(path: str, method: str, does: str, responses: Mapping[str, Json], *query: Json) -> Json:
    named = [
        {"name": name, "in": "path", "required": True, **PARAMETERS[name]} for name in re.findall(r"{(\w+)}", path)
    ]
    words = re.findall(r"\w+", f"{method.lower()} {path}")
    return {
        "operationId": "_".join(words),
        "summary": does,
        "parameters": [*named, *query],
        "responses": dict(responses),
    }


def answers(shape: type) -> Json:
    """What a call that is stored may be answered."""
    refused = {code: in_json(why, shape) for code, why in REFUSED.items()}
    return {"200": in_json("It is on disk", Taken) | RECEIPTS, **refused}


def unknown() -> Json:
    return {"424": in_json(UNKNOWN, Complaint)}


def taking(body: type) -> Json:
    """A body that may be absent where nothing in it is required."""
    is_needed = any(field.required for field in msgspec.structs.fields(body))
    return requiring(ref(body.__name__), is_required=is_needed)


def requiring(schema: Json, *, is_required: bool = True) -> Json:
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def in_json(description: str, shape: type) -> Json:
    return {"description": description, "content": {"application/json": {"schema": ref(shape.__name__)}}}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def merged(calls: list[tuple[str, str, Json]]) -> Json:
    paths: Json = {}
    for path, method, said in calls:
        paths.setdefault(path, {})[method] = said
    return paths
