"""What can go wrong between us and Customer.io: our word for it, what it is, and what to do."""

from typing import Literal

from msgspec import Struct

TroubleWord = Literal[
    "unavailable",
    "throttled",
    "timeout",
    "torn",
    "connect",
    "dns",
    "tls",
    "redirected",
    "not_found",
    "credentials_rejected",
    "forbidden",
    "not_customer_io",
]


class Explained(Struct, frozen=True, kw_only=True):
    """`hint`: a sentence or two, what it is and what to do. `needs_person`: it does not end by itself."""

    hint: str
    needs_person: bool


def passes(hint: str) -> Explained:
    return Explained(hint=hint, needs_person=False)


def stays(hint: str) -> Explained:
    return Explained(hint=hint, needs_person=True)


TROUBLES: dict[TroubleWord, Explained] = {
    "unavailable": passes(
        "Customer.io, or a proxy before it, says that it cannot (5xx): everything waits and leaves by itself later; "
        "there is nothing to do here but to look at status.customer.io"
    ),
    "throttled": passes(
        "Customer.io wants fewer requests (429) and gets fewer: nothing to do; if it stays so, lower "
        "drain.rate_max_per_s or ask Customer.io for more"
    ),
    "timeout": passes(
        "Customer.io does not answer within upstream.request_timeout_s; what was sent goes again under the same ids: "
        "look at the way there if it stays so"
    ),
    "torn": passes(
        "the connection breaks before the answer is whole; what was sent goes again under the same ids: "
        "if it stays so, look for a proxy or firewall that cuts connections"
    ),
    "connect": passes(
        "no connection to Customer.io opens: look at this machine's network and proxy, and whether a firewall lets "
        "the daemon out"
    ),
    "dns": stays(
        "the name of Customer.io's host cannot be looked up: look at this machine's resolver, and at "
        "upstream.track_url if it is set"
    ),
    "tls": stays(
        "the certificate shown is not one that this machine trusts for Customer.io: look at its clock and its CA "
        "certificates, and for a proxy that opens TLS"
    ),
    "redirected": stays(
        "Customer.io sends us elsewhere (3xx), most likely to the other region, and we do not follow: mend "
        "upstream.region (or track_url) and restart"
    ),
    "not_found": stays(
        "there is no Track API at this address (404), or nothing but a call for something that is gone was sent: if "
        "the first, mend upstream.track_url or upstream.region and restart"
    ),
    "credentials_rejected": stays(
        "Customer.io rejects the site id or the Track key (401): nothing is lost, nothing leaves; put the right key "
        "where the config says and send SIGHUP, or restart if it is a systemd credential or the site id was wrong"
    ),
    "forbidden": stays(
        "Customer.io, or a firewall before it, forbids what we send (403): nothing is lost; look whether the workspace "
        "is in order and the key still valid, and what stands between"
    ),
    "not_customer_io": stays(
        "somebody else answers in Customer.io's place, with a web page: a proxy, a firewall or a sign-in page; let the "
        "daemon through, or mend upstream.track_url and restart"
    ),
}


def explained(word: str | None) -> Explained | None:
    """What the word means; None for none, and for a word that is not in the table."""
    return next((told for name, told in TROUBLES.items() if name == word), None)


def hint_for(word: str | None) -> str | None:
    """What it is and what to do, for a log line or a screen."""
    told = explained(word)
    return told.hint if told else None
