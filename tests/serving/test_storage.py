"""What tenants may keep: all that is kept counts, what is on its way too, and the cloud file says how much."""

from pathlib import Path

import msgspec
import pytest

from headrace.errors import Invalid
from headrace.serving.storage import CODE, Storage, Terms
from headrace.state.table import RouteTenant, Table


def table(path: Path, *tenants: RouteTenant) -> Terms:
    write(path, *tenants)
    return Terms(path)


def write(path: Path, *tenants: RouteTenant) -> None:
    """As the publisher does: beside, then in its place."""
    made = Table(revision=1, models=(), replicas=(), keys=(), tenants=tenants)
    path.with_suffix(".new").write_bytes(msgspec.json.encode(made) + b"\n")
    path.with_suffix(".new").replace(path)


def test_the_cloud_file_is_in_force_as_soon_as_it_is_published(tmp_path: Path):
    terms = Terms(tmp_path / "table.json")
    assert terms.of("a").storage_bytes == 20 << 30  # nothing was published yet
    write(tmp_path / "table.json", RouteTenant(name="a", storage_bytes=5, keep_runs_us=7))
    assert (terms.of("a").storage_bytes, terms.of("a").keep_runs_us, terms.names()) == (5, 7, ["a"])
    assert terms.of("b") == RouteTenant(name="b")
    write(tmp_path / "table.json", RouteTenant(name="a", storage_bytes=6))
    assert terms.of("a").storage_bytes == 6
    (tmp_path / "table.json").unlink()
    assert terms.of("a").storage_bytes == 6


def test_what_is_kept_and_what_is_coming_count_together(tmp_path: Path):
    """Of all stores, for each tenant by itself; of two that come at once and do not both fit, the second is refused."""
    kept = {("a", "file"): 60, ("b", "file"): 1_000}
    terms = table(tmp_path / "t.json", RouteTenant(name="a", storage_bytes=100))
    of = lambda tenant, every: {place: size for place, size in every.items() if tenant in ("", place[0])}  # noqa: E731
    storage = Storage(terms, [lambda tenant: of(tenant, kept), lambda tenant: of(tenant, {("a", "run"): 10})])
    assert storage.kept() == {"a": {"file": 60, "run": 10}, "b": {"file": 1_000}}
    storage.check("a", 30)
    with storage.room("a", 20):
        assert storage.used("a") == 90
        storage.check("a", 10)
        with pytest.raises(Invalid) as refused, storage.room("a", 11):
            pass
        for word in ("tenant a keeps 90 bytes of its 100", "11 bytes more", "/v1/files/ID", "tenants.a.storage"):
            assert word in refused.value.message
        assert (refused.value.code, refused.value.status) == (CODE, 400)
    assert storage.used("a") == 70
    kept["a", "file"] = 90
    with pytest.raises(Invalid, match="nothing more fits"):
        storage.check("a")
    kept["a", "file"] = 89
    storage.check("a")
