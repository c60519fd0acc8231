"""Who may call: what is shown, by which door, and what is wanted there."""

from base64 import b64decode, b64encode, urlsafe_b64encode

import pytest

from cio_buffer import callers as module
from cio_buffer.callers import Callers
from cio_buffer.errors import Refused

SITE, KEY, PREVIOUS, LOCAL, APP = "site?>", "key~~?", "the:one:before!", "local-key", "app-key"
DOORS = {"unix": False, "tcp": True}
NEEDS = ("key", "site_id", "none")


def basic(site, key, *, encode=b64encode):
    """An Authorization header for what may be text or bytes."""
    site, key = (part if isinstance(part, bytes) else part.encode() for part in (site, key))
    return "Basic " + encode(site + b":" + key).decode()


def callers(needed="key", **more):
    ours = {"site_id": SITE, "keys": (KEY, PREVIOUS), "local_key": LOCAL, "app_api_key": APP}
    return Callers(needed=needed, **(ours | more))


A_KEY = {(door, needed) for door in DOORS for needed in NEEDS}
ONLY_THE_SITE = A_KEY - {("tcp", "key")}
NOTHING = {("unix", needed) for needed in NEEDS} | {("tcp", "none")}
A_FOREIGN_SITE: set[tuple[str, str]] = set()
"""Where each of them opens."""

URL_SAFE = basic(SITE, KEY, encode=urlsafe_b64encode)
SHOWN = {
    "nothing": (None, NOTHING),
    "an empty header": ("", NOTHING),
    "the right ones": (basic(SITE, KEY), A_KEY),
    "the key before, which has colons": (basic(SITE, PREVIOUS), A_KEY),
    "the local key": (basic(SITE, LOCAL), A_KEY),
    "the URL-safe alphabet": (URL_SAFE, A_KEY),
    "no padding": (basic(SITE, KEY).rstrip("="), A_KEY),
    "too much padding": (basic(SITE, KEY) + "====", A_KEY),
    "no padding, a wrong key": (basic(SITE, "key").rstrip("="), ONLY_THE_SITE),
    "URL-safe, no padding": (basic(SITE, PREVIOUS, encode=urlsafe_b64encode).rstrip("="), A_KEY),
    "in capitals": (basic(SITE, KEY).replace("Basic", "BASIC"), A_KEY),
    "in small letters": (basic(SITE, KEY).replace("Basic", "basic"), A_KEY),
    "spaces around": (basic(SITE, KEY).replace(" ", "   ") + "  ", A_KEY),
    "a wrong site": (basic("site", KEY), A_FOREIGN_SITE),
    "a longer site": (basic(SITE + "x", KEY), A_FOREIGN_SITE),
    "no site": (basic("", KEY), A_FOREIGN_SITE),
    "a wrong site, the local key": (basic("site", LOCAL), A_FOREIGN_SITE),
    "a wrong key": (basic(SITE, "key"), ONLY_THE_SITE),
    "half a key": (basic(SITE, KEY[:-1]), ONLY_THE_SITE),
    "no key": (basic(SITE, ""), ONLY_THE_SITE),
    "no colon": ("Basic " + b64encode(SITE.encode()).decode(), ONLY_THE_SITE),
    "the App API key": (basic(SITE, APP), ONLY_THE_SITE),
    "the key in other letters": (basic(SITE, KEY.upper()), ONLY_THE_SITE),
    "a key that is no text": (basic(SITE, b"\xff\xfe"), ONLY_THE_SITE),
    "a key with a 0 behind": (basic(SITE, KEY + "\0"), ONLY_THE_SITE),
    "a site that is no text": (basic(b"\xff", KEY), A_FOREIGN_SITE),
    "a Bearer": ("Bearer " + LOCAL, NOTHING),
    "a Bearer of credentials": (basic(SITE, KEY).replace("Basic", "Bearer"), NOTHING),
    "a scheme and no more": ("Basic", A_FOREIGN_SITE),
    "no base64": ("Basic $$$", A_FOREIGN_SITE),
    "base64 and more": (basic(SITE, KEY) + " more", A_FOREIGN_SITE),
    "both alphabets at once": ("Basic ab+-_/", A_FOREIGN_SITE),
    "half a byte": ("Basic a", A_FOREIGN_SITE),
    "bytes that are no text": ("Basic \udcff\udcfe", A_FOREIGN_SITE),
    "letters that base64 has not": ("Basic ü", A_FOREIGN_SITE),
    "plain text": (f"Basic {SITE}:{KEY}", A_FOREIGN_SITE),
}
shown = pytest.mark.parametrize(("header", "opens"), SHOWN.values(), ids=SHOWN.keys())


def is_let_in(by, header, door):
    """Whether it is; if not, it is refused as it should be."""
    try:
        by.check_track(header, is_by_tcp=DOORS[door])
    except Refused as problem:
        refused = problem
    else:
        return True
    assert (refused.status, refused.problem.reason, refused.closes) == (401, "unauthorized", False)
    assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    return False


@shown
@pytest.mark.parametrize("needed", NEEDS)
@pytest.mark.parametrize("door", DOORS)
def test_a_track_call_is_let_in_by_what_it_shows(header, opens, needed, door):
    assert is_let_in(callers(needed), header, door) is ((door, needed) in opens)


@shown
@pytest.mark.parametrize("needed", NEEDS)
@pytest.mark.parametrize("door", DOORS)
def test_a_call_that_needs_no_key_is_let_in_unless_it_names_another_site(header, opens, needed, door):
    by = callers(needed)
    if opens == A_FOREIGN_SITE:
        with pytest.raises(Refused):
            by.check_track(header, is_by_tcp=DOORS[door], needs_key=False)
    else:
        by.check_track(header, is_by_tcp=DOORS[door], needs_key=False)


def test_the_examples_are_what_they_say():
    assert set(URL_SAFE) & set("-_")
    assert set(basic(SITE, KEY)) & set("+/")
    assert all(basic(SITE, key).endswith("=") for key in (KEY, LOCAL, PREVIOUS, "key"))


@shown
def test_a_refusal_quotes_nothing(header, opens):
    with pytest.raises(Refused) as refused:
        callers(site_id="another").check_track(header, is_by_tcp=True)
    shown = [part for part in (header or "").split()[1:] if len(part) > 6]
    for secret in (SITE, KEY, PREVIOUS, LOCAL, APP, *shown):
        assert secret not in str(refused.value)


@pytest.mark.parametrize("more", [{"keys": ("", "")}, {"keys": ()}, {"keys": ("", ""), "site_id": ""}])
def test_keys_that_are_not_set_open_nothing(more):
    by = callers(local_key="", **more)
    for site in (SITE, ""):
        for key in ("", KEY, LOCAL):
            assert not is_let_in(by, basic(site, key), "tcp")
    assert is_let_in(by, None, "unix")


def test_a_site_that_is_not_set_is_nobodys():
    by = callers("none", site_id="")
    assert is_let_in(by, None, "tcp")
    assert not is_let_in(by, basic("", KEY), "tcp")


def test_letters_of_any_alphabet_may_stand_in_a_key():
    by = callers(site_id="sité", keys=("ключ", ""))
    for encode in (b64encode, urlsafe_b64encode):
        assert is_let_in(by, basic("sité", "ключ", encode=encode), "tcp")
    assert not is_let_in(by, basic("sité", "ключ".encode("cp1251")), "tcp")


@pytest.fixture
def compared(monkeypatch):
    """Each pair that is compared, in order."""
    pairs = []
    compare = module.compare_digest

    def record(given, ours):
        pairs.append((given, ours))
        return compare(given, ours)

    monkeypatch.setattr(module, "compare_digest", record)
    return pairs


@pytest.mark.parametrize("key", [KEY, PREVIOUS, LOCAL, "none of them", ""])
@pytest.mark.parametrize("site", [SITE, "another", ""])
@pytest.mark.parametrize("needed", NEEDS)
def test_every_candidate_is_compared_whichever_matches(compared, key, site, needed):
    is_let_in(callers(needed), basic(site, key), "tcp")
    given = [(site.encode(), SITE.encode()), *((key.encode(), ours.encode()) for ours in (KEY, PREVIOUS, LOCAL))]
    assert sorted(compared) == sorted(given)


def test_keys_that_are_not_set_are_compared_too(compared):
    is_let_in(callers(keys=(KEY, ""), local_key=""), basic(SITE, KEY), "tcp")
    assert [ours for given, ours in compared if given == KEY.encode()] == [KEY.encode(), b"", b""]


@pytest.mark.parametrize(
    "header", [f"Bearer {LOCAL}", "Bearer another", "Bearer ", basic(SITE, KEY), basic(LOCAL, LOCAL)]
)
def test_all_that_may_be_the_local_key_is_compared_whichever_it_is(compared, header):
    callers().authorization_for_app(header, is_by_tcp=True)
    kind, _, shown = header.partition(" ")
    assert {ours for _, ours in compared} == {LOCAL.encode()}
    parts = b64decode(shown).split(b":") if kind == "Basic" else []
    assert sorted(given for given, _ in compared) == sorted([header.strip().encode(), shown.encode(), *parts])


def test_a_local_key_with_a_colon_never_goes_on_either():
    by = callers(local_key="local:key")
    assert by.authorization_for_app("Bearer local:key", is_by_tcp=True) == f"Bearer {APP}"
    assert by.authorization_for_app(basic(SITE, "local:key"), is_by_tcp=True) == f"Bearer {APP}"


GOES_ON_AS_IT_IS = [
    "Bearer another",
    f"Bearer {APP}",
    f"Bearer {LOCAL}x",
    f"Bearer {LOCAL.upper()}",
    "Bearer sa_live_123",
    "Bearer ",
    "Bearer",
    "",
    "Basic c2l0ZTprZXk=",
    "Bearer \udcff",
    "whatever else",
]


@pytest.mark.parametrize("is_by_tcp", [False, True])
@pytest.mark.parametrize("header", GOES_ON_AS_IT_IS)
def test_what_an_app_call_shows_goes_on_unjudged(header, is_by_tcp):
    for by in (callers(), callers(app_api_key=""), callers(local_key=""), callers("none")):
        assert by.authorization_for_app(header, is_by_tcp=is_by_tcp) == header


SWAPPED = [f"Bearer {LOCAL}", f"bearer {LOCAL}", f"BEARER {LOCAL}", f"Bearer   {LOCAL}", f"Bearer {LOCAL}  "]
ODD = [f"Bearer\t{LOCAL}", f"  Bearer {LOCAL}", basic(SITE, LOCAL), basic(LOCAL, ""), f"Token {LOCAL}", LOCAL]
"""Spellings that are not ours, but tell it all the same."""


@pytest.mark.parametrize("is_by_tcp", [False, True])
@pytest.mark.parametrize("header", SWAPPED)
def test_the_real_key_takes_the_local_keys_place(header, is_by_tcp):
    assert callers().authorization_for_app(header, is_by_tcp=is_by_tcp) == f"Bearer {APP}"


@pytest.mark.parametrize("is_by_tcp", [False, True])
@pytest.mark.parametrize("header", SWAPPED + ODD)
@pytest.mark.parametrize("app_api_key", [APP, ""])
def test_the_local_key_never_goes_on(header, is_by_tcp, app_api_key):
    """In whatever spelling: it is worth nothing there, and is good for calls here."""
    try:
        sent = callers(app_api_key=app_api_key).authorization_for_app(header, is_by_tcp=is_by_tcp)
    except Refused:
        sent = None
    assert sent in (None, f"Bearer {APP}")


@pytest.mark.parametrize("header", SWAPPED)
def test_a_local_key_that_stands_for_nothing_is_said(header):
    for is_by_tcp in (False, True):
        with pytest.raises(Refused, match=r"upstream\.app_api_key") as refused:
            callers(app_api_key="").authorization_for_app(header, is_by_tcp=is_by_tcp)
        assert refused.value.status == 401
        assert refused.value.headers["WWW-Authenticate"].startswith("Bearer realm=")
        assert LOCAL not in str(refused.value)


def test_a_local_key_that_is_not_set_is_no_key():
    by = callers(local_key="")
    for header in ("Bearer ", "Bearer", f"Bearer {LOCAL}"):
        assert by.authorization_for_app(header, is_by_tcp=True) == header


@pytest.mark.parametrize("needed", NEEDS)
def test_an_app_call_that_shows_nothing_is_let_in_by_the_unix_socket_only(needed):
    by = callers(needed)
    assert by.authorization_for_app(None, is_by_tcp=False) == f"Bearer {APP}"
    with pytest.raises(Refused) as refused:
        by.authorization_for_app(None, is_by_tcp=True)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer realm=")


def test_without_a_key_of_ours_nothing_is_added():
    assert callers(app_api_key="").authorization_for_app(None, is_by_tcp=False) is None


def test_a_local_key_of_any_alphabet_is_swapped():
    by = callers(local_key="ключ")
    assert by.authorization_for_app("Bearer ключ", is_by_tcp=True) == f"Bearer {APP}"


def test_keys_that_change_open_the_door_from_then_on_and_the_old_ones_do_not():
    by = callers()
    by.use_keys(callers(keys=("new-key", KEY), local_key="new-local", app_api_key="new-app"))
    assert [is_let_in(by, basic(SITE, key), "tcp") for key in ("new-key", KEY, "new-local")] == [True] * 3
    assert [is_let_in(by, basic(SITE, key), "tcp") for key in (PREVIOUS, LOCAL)] == [False] * 2
    assert by.authorization_for_app("Bearer new-local", is_by_tcp=True) == "Bearer new-app"
    assert by.authorization_for_app(f"Bearer {LOCAL}", is_by_tcp=True) == f"Bearer {LOCAL}"
    assert by.authorization_for_app(None, is_by_tcp=False) == "Bearer new-app"


def test_what_is_wanted_and_of_whom_does_not_change_with_the_keys():
    by = callers("site_id")
    by.use_keys(callers("none", site_id="another"))
    assert is_let_in(by, basic(SITE, "whatever"), "tcp")
    assert not is_let_in(by, basic("another", KEY), "tcp")
    assert not is_let_in(by, None, "tcp")


def test_a_key_that_is_taken_away_opens_nothing():
    by = callers()
    by.use_keys(callers(keys=(KEY, ""), local_key="", app_api_key=""))
    assert not is_let_in(by, basic(SITE, LOCAL), "tcp")
    assert not is_let_in(by, basic(SITE, ""), "tcp")
    assert by.authorization_for_app(None, is_by_tcp=False) is None
