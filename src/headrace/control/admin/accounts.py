"""Routes about keys and usage. A key's secret leaves here once, in the answer that makes it."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, Query, Role, decoded, json, whole
from headrace.control.controller import Controller
from headrace.ports import KeyRecord

LIMIT_MAX: Final = 10**12
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)] | None
Name = Annotated[str, Meta(max_length=200)]
_ROWS: Final = (
    Query("limit", "How many, at most 1000.", "integer"),
    Query("tenant", "Only this tenant's; a key of role user sees its own in any case."),
    Query("model", "Only this model's."),
    Query("before_us", "Only those that ended before this moment.", "integer"),
    Query("label", "Only those whose label begins with this, like a run's id and a slash; oldest first."),
    Query("since_us", "With a label: only those that ended at this moment or later.", "integer"),
)


class NewKey(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a new key shall be. Limits are None for the tenant's own."""

    name: Name = ""
    tenant: Name = "default"
    role: Role = "user"
    team: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    models: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)] = ("*",)
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    concurrency: Limit = None


class Accounts:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        return [
            AdminRoute(
                "POST", f"{at}/keys", "admin", "Make a key; it is shown once.", self.create,
                takes=NewKey, gives=views.KeyView,
            ),
            AdminRoute("GET", f"{at}/keys", "admin", "Every key, without its secret.", self.every, gives=views.Keys),
            AdminRoute("DELETE", f"{at}/keys/{{id}}", "admin", "Revoke it at once.", self.revoke, gives=views.KeyView),
            AdminRoute(
                "GET", f"{at}/usage", "user", "Usage records, newest first.", self.usage, gives=views.Rows, query=_ROWS
            ),
        ]  # fmt: skip

    async def create(self, request: Request) -> Response:
        """Make a key."""
        control = self._controller
        wanted = await decoded(request, NewKey)
        self._check(wanted)
        asked = KeyRecord(id="", digest="", created_us=control.clock.now_us(), **msgspec.structs.asdict(wanted))
        record, text = control.keyring.create(asked)
        control.records.decide("key.create", record.id, f"made for tenant {record.tenant}, role {record.role}")
        await control.keys_changed()
        return json(views.key_view(record, text))

    def _check(self, wanted: NewKey) -> None:
        catalog = self._controller.catalog
        tenants = [tenant.name for tenant in catalog.tenants]
        if wanted.tenant not in tenants:
            raise errors.Invalid(
                f"there is no tenant {wanted.tenant[:80]!r}; there are: {', '.join(tenants)}", param="tenant"
            )
        for model in wanted.models:
            if model != "*" and model not in catalog.names():
                raise errors.Invalid(
                    f"there is no model {model[:80]!r}; there are: {', '.join(catalog.names())}", param="models"
                )

    async def every(self, _request: Request) -> Response:
        """Every key, without its secret: those made here, and those the cloud file refers to."""
        control = self._controller
        every = control.store.keys()
        stored = {record.id: record for record in every}
        referenced = [record for record in control.keyring.records() if record.id not in stored]
        return json(views.Keys(keys=[views.key_view(record) for record in (*stored.values(), *referenced)]))

    async def revoke(self, request: Request) -> Response:
        """Revoke a key at once; again is no fault."""
        control = self._controller
        record = control.keyring.revoke(request.path_params["id"], control.clock.now_us())
        control.records.decide("key.revoke", record.id, "an administrator asked for it")
        await control.keys_changed()
        return json(views.key_view(record))

    async def usage(self, request: Request) -> Response:
        """Usage records, newest first; a user sees those of its tenant."""
        control, key = self._controller, request.state.key
        await control.bookkeeper.catch_up()
        limit = whole(request, "limit", 50, 1000)
        tenant = request.query_params.get("tenant") if key.role == "admin" else key.tenant
        if label := request.query_params.get("label"):
            since_us = whole(request, "since_us", 0, 1 << 60)
            rows = control.store.usage_labelled(label, since_us=since_us, limit=limit, tenant=tenant)
            settled_us = control.bookkeeper.settled_until(label)
            return json(views.Rows(usage=[views.row(row) for row in rows], settled_until_us=settled_us))
        rows = control.store.usage_list(
            limit=limit,
            tenant=tenant,
            model=request.query_params.get("model"),
            before_us=whole(request, "before_us", 0, 1 << 60),
        )
        return json(views.Rows(usage=[views.row(row) for row in rows]))
