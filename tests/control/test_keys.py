"""Keys: made once, proven, revoked, read by reference; and the limits gateways see."""

import os
from pathlib import Path

import pytest

from headrace.control import keys, tables
from headrace.errors import Invalid
from headrace.ports import KeyRecord
from headrace.settings import Settings
from headrace.specs.catalog import Limits, TenantSpec
from headrace.state.keys import make_key
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import SimClock, catalog, no_secret


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "db")


def record(**changed: object) -> KeyRecord:
    return KeyRecord(**({"id": "", "digest": "", "tenant": "default", "role": "user"} | changed))  # type: ignore[arg-type]


def ring(store: SqliteStore, wanted=None, secret=no_secret) -> keys.Keyring:
    made = keys.Keyring(store, b"pepper", secret)
    made.refresh(wanted or catalog())
    return made


def test_the_home_gets_one_admin_key_once(tmp_path, store):
    """The first start makes pepper and key, 0600; the second finds them; a key that proves nothing is made anew."""
    settings = Settings(home=tmp_path)
    text = keys.bootstrap(settings, store, SimClock())
    assert settings.credentials.read_text().strip() == text
    assert [path.stat().st_mode & 0o777 for path in (settings.pepper, settings.credentials)] == [0o600, 0o600]
    assert keys.bootstrap(settings, store, SimClock()) is None
    settings.credentials.write_text("hr-nonsense")
    assert keys.bootstrap(settings, store, SimClock()) not in (None, text)
    every = store.keys()
    assert [key.role for key in every] == ["admin", "admin"]


def test_the_secret_is_nowhere_in_the_store(tmp_path, store):
    """Only its digest under the pepper is kept."""
    _, text = ring(store).create(record())
    secret = text.split("-", 2)[2]
    store.close()
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_key_proves_itself_until_it_is_revoked(store):
    """Another secret for its id does not, nor does a text that is no key; revoking twice is one revocation."""
    mine = ring(store)
    made, text = mine.create(record())
    mine.refresh(catalog())
    assert mine.proven(text) == made
    _, _, other = make_key(os.urandom(44))
    assert [mine.proven(wrong) for wrong in ("", "x", other, f"hr-{made.id}-{'a' * 43}", text + "a")] == [None] * 5
    assert mine.revoke(made.id, 5).revoked_us == mine.revoke(made.id, 9).revoked_us == 5
    mine.refresh(catalog())
    assert mine.proven(text) is None
    assert mine.records() == ()


def test_a_user_of_a_tenant_that_is_gone_is_refused_and_an_admin_is_not(store):
    """Nobody is locked out of the cloud by a catalog."""
    mine = ring(store)
    _, user = mine.create(record(tenant="gone"))
    _, admin = mine.create(record(tenant="gone", role="admin"))
    mine.refresh(catalog())
    assert mine.proven(user) is None
    assert mine.proven(admin) is not None


def test_keys_by_reference_belong_to_their_tenant(store):
    """`env:` and `file:` keys prove themselves as users; what cannot be used is told and never shown."""
    _, _, text = make_key(bytes(range(44)))
    held = {"env:KEY": text, "env:BAD": "s3cret-not-a-key"}

    def secret(reference: str) -> str:
        return held[reference] if reference in held else no_secret(reference)

    tenant = TenantSpec(name="team", keys=("env:KEY", "env:BAD", "env:NONE"))
    mine = ring(store, catalog(tenants=(tenant,)), secret)
    found = mine.proven(text)
    assert found is not None
    assert (found.tenant, found.role, found.name) == ("team", "user", "env:KEY")
    assert len(mine.problems) == 2
    assert not any("s3cret" in problem for problem in mine.problems)
    mine.revoke(found.id, 7)
    mine.refresh(catalog(tenants=(tenant,)))
    assert mine.proven(text) is None


def test_revoking_what_is_not_there_is_a_404(store):
    """With the way to see what is."""
    with pytest.raises(Invalid, match="headrace key list") as raised:
        ring(store).revoke("nope", 1)
    assert raised.value.status == 404


@pytest.mark.parametrize(
    ("own", "tenant", "expected"), [(None, 5, 5), (3, 5, 3), (9, 5, 5), (None, None, None), (3, None, 3)]
)
def test_a_key_s_limit_is_never_above_its_tenant_s(own, tenant, expected):
    """The smaller of the two, or the one there is."""
    wanted = catalog(tenants=(TenantSpec(name="default", limits=Limits(concurrency=tenant)),))
    (route,) = tables.route_keys([record(id="a", concurrency=own)], wanted, lambda *_: ())
    assert route.limits.concurrency == expected


@pytest.mark.parametrize(
    ("own", "tenant", "expected"),
    [
        (("*",), ("*",), ("*",)),
        (("a",), ("*",), ("a",)),
        (("*",), ("a", "b"), ("a", "b")),
        (("a", "c"), ("a",), ("a",)),
    ],
)
def test_a_key_may_use_what_both_it_and_its_tenant_may(own, tenant, expected):
    """The models in both lists."""
    wanted = catalog(tenants=(TenantSpec(name="default", models=tenant),))
    assert tables.allowed(record(models=own), wanted) == expected
