"""The answers of the App API, in the vendor's shapes."""

from cio_buffer.sandbox.answers import Answer, in_json


def _error(status: int, detail: str, pointer: str | None = None) -> Answer:
    error = {"detail": detail, "status": str(status)}
    source = {} if pointer is None else {"source": {"pointer": pointer}}
    return in_json(status, {"errors": [{**error, **source}]})


UNAUTHORIZED = _error(401, "unauthorized")
NO_SUCH_CALL = _error(404, "not found")
DONE = in_json(200, {})


def refused(message: str) -> Answer:
    """The 400 to a call that cannot be what it is."""
    return in_json(400, {"meta": {"error": message}})


def unprocessable(field: str, detail: str) -> Answer:
    """The 422 to a broadcast; it points at the field."""
    return _error(422, detail, f"/{field}")


def queued(delivery_id: str, *, queued_at: int, send_at: int | None) -> Answer:
    """A message was taken in. Times are Unix seconds; `send_at` None: it leaves at once."""
    later = {} if send_at is None else {"send_at": send_at}
    return in_json(200, {"delivery_id": delivery_id, "queued_at": queued_at, **later})


def triggered(number: int) -> Answer:
    """A broadcast was taken in."""
    return in_json(200, {"id": number})
