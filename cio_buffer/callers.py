"""Who may call: a UNIX socket is guarded by its file's permissions, a port by what the caller shows."""

import binascii
from binascii import a2b_base64
from hmac import compare_digest
from http import HTTPStatus
from typing import Literal

from msgspec import Struct

from cio_buffer.errors import Problem, Refused

URL_SAFE = str.maketrans("-_", "+/")
"""One SDK writes its credentials in the URL-safe base64 alphabet."""

CHALLENGE = {"WWW-Authenticate": 'Basic realm="Customer.io Track API"'}
BEARER_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Customer.io App API"'}


class Callers(Struct, kw_only=True):
    """What local callers have to show. Empty keys open nothing. Every comparison takes the same time for any guess.

    Only `use_keys` changes anything here.

    `keys` are Track keys, the present one and the one before it; `local_key` is good for Track and App calls here, and
    for nothing at Customer.io. `needed` is what a Track call has to show on a port.
    """

    site_id: str
    keys: tuple[str, ...]
    needed: Literal["key", "site_id", "none"] = "key"
    local_key: str = ""
    app_api_key: str = ""

    def use_keys(self, of: "Callers") -> None:
        """From now on take the keys that `of` takes; site id, and what is needed, stay."""
        self.keys, self.local_key, self.app_api_key = of.keys, of.local_key, of.app_api_key

    def check_track(self, authorization: str | None, *, is_by_tcp: bool, needs_key: bool = True) -> None:
        """Raise Refused (401) unless this Authorization header may make a Track call.

        A site id that is sent must be ours wherever it comes in, also with a call that needs none: it tells an app
        that talks to the wrong workspace.
        """
        needed = self.needed if is_by_tcp and needs_key else "none"
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            if needed != "none":
                raise unauthorized("This port wants the workspace's site id and key, as Basic credentials", CHALLENGE)
            return
        site_id, _, key = decode(encoded).partition(b":")
        is_ours = same(site_id, self.site_id)
        is_known = self._knows(key)
        if not is_ours:
            raise unauthorized("The site id is not the one that this daemon sends for", CHALLENGE)
        if needed == "key" and not is_known:
            raise unauthorized("The key is neither the workspace's Track API key nor the local key", CHALLENGE)

    def authorization_for_app(self, authorization: str | None, *, is_by_tcp: bool) -> str | None:
        """What an App call that came with this header goes on with. Raises Refused (401).

        Whatever it is goes on unjudged, but for the local key, which must not leave: the real key takes its place.
        """
        if authorization is None:
            if is_by_tcp:
                raise unauthorized("An App API call needs an Authorization header", BEARER_CHALLENGE)
            return f"Bearer {self.app_api_key}" if self.app_api_key else None
        if sum(same(token, self.local_key) for token in tokens_in(authorization)) == 0:
            return authorization
        if not self.app_api_key:
            raise unauthorized("The local key stands for upstream.app_api_key, which is not set", BEARER_CHALLENGE)
        return f"Bearer {self.app_api_key}"

    def _knows(self, key: bytes) -> bool:
        """Whether it is one of those that open the door. All of them are compared, whichever it is."""
        is_known = False
        for one in (*self.keys, self.local_key):
            is_known |= same(key, one)
        return is_known


def tokens_in(authorization: str) -> list[bytes]:
    """Whatever could be a key in this header, however it is spelled: what is not recognized would leave."""
    scheme, *more = authorization.split(maxsplit=1) or [""]
    rest = "".join(more).strip()
    bare = [token.encode("utf-8", "surrogateescape") for token in (authorization.strip(), rest)]
    user, _, key = decode(rest).partition(b":")
    return [*bare, user, key] if scheme.lower() == "basic" else bare


def same(given: bytes, ours: str) -> bool:
    """Whether they are equal; what is empty on our side equals nothing."""
    return compare_digest(given, ours.encode()) and bool(ours)


def decode(encoded: str) -> bytes:
    """What base64 in either alphabet says, with or without padding; nothing where it says nothing."""
    standard = encoded.strip().rstrip("=")
    if "-" in standard or "_" in standard:
        standard = standard.translate(URL_SAFE)
    try:
        return a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)
    except (binascii.Error, ValueError):
        return b""


def unauthorized(sentence: str, challenge: dict[str, str]) -> Refused:
    problem = Problem(reason="unauthorized", field="", message=sentence)
    return Refused(HTTPStatus.UNAUTHORIZED, problem, headers=challenge)
