"""Routes about keys and usage. A key's secret leaves here once, in the answer that makes it."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control import keys
from headrace.control.admin.cloud import whole
from headrace.control.admin.routes import AdminRoute, json
from headrace.control.controller import Controller
from headrace.ports import KeyRecord
from headrace.state.usage import Usage

LIMIT_MAX = 10**12


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """What a new key shall be."""

    name: str = ""
    tenant: str = "default"
    role: str = "user"
    models: tuple[str, ...] = ("*",)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Accounts:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at, rows = "/headrace/v1", dict[str, list[Usage]]
        return [
            AdminRoute("POST", f"{at}/keys", "admin", "Make a key; it is shown once.", self.create, takes=NewKey),
            AdminRoute("GET", f"{at}/keys", "admin", "Every key, without its secret.", self.list_keys),
            AdminRoute("DELETE", f"{at}/keys/{{id}}", "admin", "Revoke a key at once.", self.revoke),
            AdminRoute("GET", f"{at}/usage", "user", "Usage records, newest first.", self.usage, gives=rows),
        ]  # fmt: skip

    async def create(self, request: Request) -> Response:
        """Make a key."""
        control = self._controller
        try:
            wanted = msgspec.json.decode(await request.body() or b"{}", type=NewKey)
        except msgspec.MsgspecError as error:
            raise errors.Invalid(str(error)) from None
        self._check(wanted)
        asked = KeyRecord(id="", digest="", created_us=control.clock.now_us(), **msgspec.structs.asdict(wanted))
        record, text = keys.create(control.store, keys.pepper(control.settings), asked)
        control.actuator.decide("key.create", record.id, f"made for tenant {record.tenant}, role {record.role}")
        control.keys_changed()
        return json({**_shown(record), "key": text})

    def _check(self, wanted: NewKey) -> None:
        catalog = self._controller.catalog
        tenants = [tenant.name for tenant in catalog.tenants]
        if wanted.tenant not in tenants:
            raise errors.Invalid(
                f"there is no tenant {wanted.tenant[:80]!r}; there are: {', '.join(tenants)}", param="tenant"
            )
        if wanted.role not in ("user", "admin"):
            raise errors.Invalid(f"role is {wanted.role[:40]!r}; give user or admin", param="role")
        for model in wanted.models:
            if model != "*" and model not in catalog.names():
                raise errors.Invalid(
                    f"there is no model {model[:80]!r}; there are: {', '.join(catalog.names())}", param="models"
                )
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            value = getattr(wanted, name)
            if value is not None and not 1 <= value <= LIMIT_MAX:
                raise errors.Invalid(f"{name} is {value}; give a whole number from 1 to {LIMIT_MAX}", param=name)

    async def list_keys(self, _request: Request) -> Response:
        """Every key, without its secret."""
        every = self._controller.store.keys()
        return json({"keys": [_shown(record) for record in every]})

    async def revoke(self, request: Request) -> Response:
        """Revoke a key at once."""
        control = self._controller
        record = keys.revoke(control.store, request.path_params["id"], control.clock.now_us())
        control.actuator.decide("key.revoke", record.id, "an administrator asked for it")
        control.keys_changed()
        return json(_shown(record))

    async def usage(self, request: Request) -> Response:
        """Usage records, newest first; a user sees those of its tenant."""
        control, key = self._controller, request.state.key
        control.bookkeeper.catch_up()
        tenant = request.query_params.get("tenant") if key.role == "admin" else key.tenant
        rows = control.store.usage_list(
            limit=whole(request, "limit", 50, 1000),
            tenant=tenant,
            model=request.query_params.get("model"),
            before_us=whole(request, "before_us", 0, 1 << 60),
        )
        return json({"usage": [msgspec.structs.asdict(row) for row in rows]})


def _shown(record: KeyRecord) -> dict[str, object]:
    shown = msgspec.structs.asdict(record)
    del shown["digest"]
    shown["revoked"] = bool(record.revoked_us)
    return shown
