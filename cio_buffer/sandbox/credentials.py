"""Checks Basic credentials as Customer.io does: site id and Track API key, in either base64 alphabet."""

import base64
import binascii

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller must know. None for either means that any will do."""

    site_id: str | None
    track_api_key: str | None

    def admit(self, authorization: str | None) -> bool:
        """Whether that Authorization header (None: there was none) opens the door."""
        if self.site_id is None and self.track_api_key is None:
            return True
        site_id, _, key = _decode_basic(authorization or "").partition(":")
        return self.site_id in (None, site_id) and self.track_api_key in (None, key)


def _decode_basic(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    standard = encoded.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
