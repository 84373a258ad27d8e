"""What tenants keep with the runner, and how much they may: files, videos, stored responses, large results of runs.

The stores count, in the transaction of each change; this adds up. An upload needs room for all of it. Of what is paid
for the size is not known before, so it is kept in any case, and who has reached the limit begins nothing new.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from headrace.errors import Invalid
from headrace.state.table import RouteTenant

CODE: Final = "storage_limit_exceeded"
Counted = Callable[[str], Mapping[tuple[str, str], int]]  # bytes by tenant and kind, of one tenant or of all ("")


class Terms:
    """What the cloud file says of tenants, from the file in which the controller publishes it; read when it is new."""

    def __init__(self, table: Path) -> None:
        self._file = table
        self._seen = (0, 0)
        self._tenants: dict[str, RouteTenant] = {}

    def of(self, tenant: str) -> RouteTenant:
        """One tenant's; the defaults for one that is not in the cloud file."""
        self._look()
        return self._tenants.get(tenant) or RouteTenant(name=tenant)

    def names(self) -> list[str]:
        """Every tenant of the cloud file."""
        self._look()
        return sorted(self._tenants)

    def _look(self) -> None:
        try:
            found = self._file.stat()
            if (found.st_mtime_ns, found.st_ino) != self._seen:
                told = msgspec.json.decode(self._file.read_bytes(), type=_Told)
                self._tenants = {tenant.name: tenant for tenant in told.tenants}
                self._seen = (found.st_mtime_ns, found.st_ino)
        except (OSError, msgspec.MsgspecError):
            return  # what was known holds


class _Told(msgspec.Struct):
    """The part of `state.table.Table` that matters here."""

    tenants: tuple[RouteTenant, ...] = ()


class Storage:
    """One for all parts of the runner."""

    def __init__(self, terms: Terms, counted: Sequence[Counted]) -> None:
        self.terms, self._counted = terms, counted
        self._coming: dict[str, int] = {}

    def kept(self) -> dict[str, dict[str, int]]:
        """Bytes by tenant and kind; every tenant of the cloud file, and each that keeps anything."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.terms.names()}
        for count in self._counted:
            for (tenant, kind), size in count("").items():
                found.setdefault(tenant, {})[kind] = size
        return found

    def used(self, tenant: str) -> int:
        """Bytes that a tenant keeps, or is about to."""
        there = sum(sum(count(tenant).values()) for count in self._counted)
        return there + self._coming.get(tenant, 0)

    def check(self, tenant: str, more_bytes: int = 1) -> None:
        """Raises Invalid when a tenant may not keep so much more; with no figure, when it may keep nothing more."""
        used, limit = self.used(tenant), self.terms.of(tenant).storage_bytes
        if used + more_bytes > limit:
            asked = f"{more_bytes} bytes more would pass" if more_bytes > 1 else "nothing more fits"
            raise Invalid(
                f"The tenant {tenant} keeps {used} bytes of its {limit} (files, videos, stored responses and results "
                f"of runs), and {asked} this. Delete some (DELETE /v1/files/ID, /v1/videos/ID, /v1/responses/ID, or: "
                f"headrace pipeline delete RUN), or raise tenants.{tenant}.storage in the cloud file.",
                code=CODE,
            )

    @contextmanager
    def room(self, tenant: str, more_bytes: int) -> Iterator[None]:
        """Hold room for what is being kept: of several at once none takes another's. Raises Invalid."""
        self.check(tenant, more_bytes)
        self._coming[tenant] = self._coming.get(tenant, 0) + more_bytes
        try:
            yield
        finally:
            self._coming[tenant] -= more_bytes
