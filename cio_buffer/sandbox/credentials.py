"""Checks credentials as Customer.io does.

Track: Basic, with site id and Track API key in either base64 alphabet. App: Bearer, with an App API key, or with a
service account's token and the workspace that is meant.
"""

import base64
import binascii

import msgspec

_SERVICE_ACCOUNT = "sa_live_"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller of the Track API must know. None for either means that any will do."""

    site_id: str | None
    track_api_key: str | None

    def admit(self, authorization: str | None) -> bool:
        """Whether that Authorization header (None: there was none) opens the door."""
        if self.site_id is None and self.track_api_key is None:
            return True
        site_id, _, key = _decode_basic(authorization or "").partition(":")
        return self.site_id in (None, site_id) and self.track_api_key in (None, key)


class AppCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller of the App API must know. None means that anything will do."""

    app_api_key: str | None

    def admit(self, authorization: str | None, workspace_id: str | None) -> bool:
        """Whether these headers, Authorization and X-Workspace-Id (None: not sent), open the door."""
        if self.app_api_key is None:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or token.strip() != self.app_api_key:
            return False
        return bool(workspace_id) or not self.app_api_key.startswith(_SERVICE_ACCOUNT)


def _decode_basic(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    standard = encoded.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
