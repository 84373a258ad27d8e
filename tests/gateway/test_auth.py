"""Who is let in: only who proves a key of the table, in whichever header, until the table lacks it."""

from collections.abc import Mapping

import pytest

from headrace.gateway.auth import Doorman
from headrace.state import keys
from headrace.state.table import RouteKey
from tests.gateway.world import KEY, KEY_ID, PEPPER, SECRET

ROUTE = RouteKey(id=KEY_ID, digest=keys.digest(PEPPER, SECRET), tenant="t", role="user")
OTHER = keys.make_key(bytes(range(1, 45)))[2]


@pytest.fixture
def doorman() -> Doorman:
    found = Doorman(PEPPER)
    found.update([ROUTE])
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer " + KEY.encode()},
        {b"authorization": b"bearer  " + KEY.encode() + b" "},
        {b"x-api-key": KEY.encode()},
    ],
)
def test_a_key_is_taken_in_every_header_form(doorman: Doorman, headers: Mapping[bytes, bytes]):
    """The same decision for each, also the second time."""
    assert [doorman.key(dict(headers)) for _ in range(2)] == [ROUTE, ROUTE]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic " + KEY.encode()},
        {b"authorization": KEY.encode()},
        {b"authorization": b"Bearer " + KEY[:-1].encode()},
        {b"authorization": b"Bearer " + KEY.encode() + b"x"},
        {b"authorization": b"Bearer " + KEY.upper().encode()},
        {b"authorization": b"Bearer " + OTHER.encode()},
        {b"authorization": b"Bearer hr-" + KEY_ID.encode() + b"-" + OTHER[-43:].encode()},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"authorization": b"Bearer " + b"a" * 10_000},
        {b"authorization": b"Bearer x", b"x-api-key": KEY.encode()},
        {b"x-api-key": b"Bearer " + KEY.encode()},
    ],
)
def test_everything_else_is_refused(doorman: Doorman, headers: dict[bytes, bytes]):
    """Default deny; a wrong Authorization is not mended by another header."""
    assert doorman.key(headers) is None


def test_a_revoked_key_is_refused_at_once(doorman: Doorman):
    """As soon as the table lacks it, whatever was remembered."""
    headers = {b"x-api-key": KEY.encode()}
    assert doorman.key(headers) is ROUTE
    doorman.update([])
    assert doorman.key(headers) is None


def test_strangers_leave_nothing_behind(doorman: Doorman):
    """Wrong keys are not remembered, so they cannot push out the right ones."""
    for number in range(100):
        doorman.key({b"x-api-key": b"hr-%012d-" % number + b"x" * 43})
    assert doorman._known == {}


def test_each_tenant_has_a_salt_of_its_own():
    """The same in every worker and whenever it is asked for; nobody can make it without the pepper."""
    one, other = Doorman(PEPPER), Doorman(PEPPER)
    assert one.salt("a") == one.salt("a") == other.salt("a")
    assert len({one.salt("a"), one.salt("b"), Doorman(b"y" * 32).salt("a")}) == 3


def test_only_the_runner_acts_for_a_keys_holder(doorman: Doorman):
    """Its proof is taken for the key; the key itself is not its proof, nor is the proof of another key."""
    proof = keys.acting(PEPPER, KEY_ID)
    headers = {b"authorization": b"Bearer " + proof.encode()}
    assert doorman.key(dict(headers)) is ROUTE
    assert doorman.acting(headers, ROUTE)
    for other in (KEY, keys.acting(PEPPER, "b" * 12), keys.acting(bytes(32), KEY_ID), "", "\xff"):
        assert not doorman.acting({b"authorization": b"Bearer " + other.encode("latin-1")}, ROUTE)
    assert not doorman.acting({}, ROUTE)
