"""What is wrong with a message that is to be sent: the rules of each channel."""

import base64
import binascii
import re

from cio_buffer.sandbox.fields import Fields, is_number
from cio_buffer.sandbox.identities import read_who

CHANNELS = frozenset({"email", "push", "sms", "whatsapp", "inbox_message", "in_app"})
ADDRESSES_MAX = 15
ATTACHMENTS_MAX_BYTES = 2_000_000

_IDENTIFIERS = ("id", "email", "cio_id")
_QUOTED = re.compile(r'"[^"]*"')


def check_send(channel: str, fields: Fields) -> None:
    """Note what is wrong with the message."""
    read_who(fields, "identifiers", _IDENTIFIERS)
    if channel == "email":
        _check_email(fields)
    elif _has_no_template(fields):
        fields.required("transactional_message_id")


def attachments_bytes(fields: Fields) -> int:
    """How large the attachments are, decoded and together; a problem is noted when that cannot be told."""
    if fields.values.get("attachments") is None:
        return 0
    attachments = fields.mapping("attachments")
    return sum(_decoded_bytes(fields, name, content) for name, content in attachments.items())


def _check_email(fields: Fields) -> None:
    fields.text("to")
    if _has_no_template(fields):
        for name in ("from", "subject", "body"):
            fields.text(name)
    if sum(_addresses(fields, name) for name in ("to", "cc", "bcc")) > ADDRESSES_MAX:
        fields.invalid("to", f"an email has at most {ADDRESSES_MAX} addresses in to, cc and bcc")


def _has_no_template(fields: Fields) -> bool:
    """Whether no template is named. What names one is a number or a text."""
    template = fields.values.get("transactional_message_id")
    if template is None or template == "":
        return True
    if not isinstance(template, str) and not is_number(template):
        fields.invalid("transactional_message_id", "transactional_message_id must be a number or a string")
    return False


def _addresses(fields: Fields, name: str) -> int:
    """How many there are; a comma in a quoted name is none between addresses."""
    text = fields.values.get(name)
    return sum(bool(part.strip()) for part in _QUOTED.sub("", text).split(",")) if isinstance(text, str) else 0


def _decoded_bytes(fields: Fields, name: str, content: object) -> int:
    try:
        # Line breaks are part of base64 as mail has it.
        return len(base64.b64decode("".join(str(content).split()), validate=True))
    except (binascii.Error, ValueError):
        fields.invalid("attachments", f"attachment {name} is not base64")
        return 0
