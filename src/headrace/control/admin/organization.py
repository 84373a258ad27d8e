"""OpenAI's organization API, read from the books: usage, costs, projects, their keys and spend limits.

So that tools made for it only change the base URL. A project is a tenant, a project's key a key, a spend limit the
tenant's budget a month. Times are unix seconds, as they are there; amounts of money are numbers of dollars in its
answers and nowhere else. Usage is kept by the hour, so buckets of a minute are refused.
"""

import base64
import binascii
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin.routes import AdminRoute, Query, decoded, json
from headrace.control.controller import Controller
from headrace.economics.budgets import Budget
from headrace.economics.entries import HOUR_US
from headrace.ports import KeyRecord
from headrace.specs.priced import SCALES

US_PER_S: Final = 1_000_000
DAY_US: Final = 24 * HOUR_US
NANOUSD_PER_CENT: Final = 10_000_000
LISTED_MAX: Final = 100
_WIDTHS: Final = {"1h": (HOUR_US, 24, 168), "1d": (DAY_US, 7, 31)}  # length, how many, at most
_GROUPS: Final = {"project_id": "tenant", "api_key_id": "key", "model": "model"}
_TASKS: Final = {"completions": "chat", "embeddings": "embed"}
_SPAN: Final = (
    Query("start_time", "Unix seconds, inclusive.", "integer"),
    Query("end_time", "Unix seconds, exclusive; now when left out.", "integer"),
    Query("bucket_width", "1h or 1d."),
    Query("project_ids", "Only these tenants; repeat for more."),
    Query("api_key_ids", "Only these keys; repeat for more."),
    Query("group_by", "project_id, api_key_id, model; for costs line_item instead of model."),
    Query("limit", "How many buckets.", "integer"),
    Query("page", "next_page of the answer before."),
)


class SpendLimit(msgspec.Struct, forbid_unknown_fields=True):
    """A hard limit a month; `threshold_amount` is in cents."""

    threshold_amount: int
    currency: str = "USD"
    interval: str = "month"


class Organization:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at, one = "/v1/organization", "/v1/organization/projects/{project}"
        limit = f"{one}/spend_limit"
        return [
            AdminRoute("GET", f"{at}/usage/completions", "admin", "Tokens by time.", self.completions, query=_SPAN),
            AdminRoute("GET", f"{at}/usage/embeddings", "admin", "Tokens by time.", self.embeddings, query=_SPAN),
            AdminRoute("GET", f"{at}/costs", "admin", "Charges by day.", self.costs, query=_SPAN),
            AdminRoute("GET", f"{at}/projects", "admin", "Every tenant.", self.projects),
            AdminRoute("GET", one, "admin", "One tenant.", self.project),
            AdminRoute("GET", f"{one}/api_keys", "admin", "Its keys, redacted.", self.keys),
            AdminRoute("GET", f"{one}/api_keys/{{key}}", "admin", "One key, redacted.", self.key),
            AdminRoute("DELETE", f"{one}/api_keys/{{key}}", "admin", "Revoke it.", self.revoke),
            AdminRoute("GET", limit, "admin", "Its budget a month.", self.limit),
            AdminRoute("POST", limit, "admin", "Set its budget a month.", self.set_limit, takes=SpendLimit),
            AdminRoute("DELETE", limit, "admin", "Remove it.", self.drop_limit),
        ]

    # --- usage and costs ----------------------------------------------------------------------------------------

    async def completions(self, request: Request) -> Response:
        """Chat and text completions."""
        return await self._usage(request, "completions")

    async def embeddings(self, request: Request) -> Response:
        """Embeddings."""
        return await self._usage(request, "embeddings")

    async def _usage(self, request: Request, what: str) -> Response:
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        asked = _Asked(request, control.clock.now_us(), _GROUPS, tuple(_WIDTHS))
        by = ("tenant", "key", "model", "task")
        buckets = []
        for start_us, end_us in asked.buckets():
            books, sums = control.store.statements, _Sums(asked)
            for row in books.spend((*by, "unit"), start_us, end_us):
                if row["task"] == _TASKS[what]:
                    sums.add(row, row["unit"], row["amount"])
            results = [_usage(what, names, used) for names, used in sums.found()]
            buckets.append(_bucket(start_us, end_us, results))
        return json(asked.page_of(buckets))

    async def costs(self, request: Request) -> Response:
        """What tenants were charged; line items are models and units."""
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        groups = {"project_id": "tenant", "api_key_id": "key", "line_item": "line_item"}
        asked = _Asked(request, control.clock.now_us(), groups, ("1d",))
        buckets = []
        for start_us, end_us in asked.buckets():
            sums = _Sums(asked)
            by = ("tenant", "key", "model")
            split = "line_item" in asked.groups
            for row in control.store.statements.spend((*by, "unit") if split else by, start_us, end_us):
                row["line_item"] = f"{row['model']}, {SCALES[row['unit']][1]}" if split else None
                sums.add(row, "charge", row["charge_nanousd"])
            results = [_cost(names, used.get("charge", 0)) for names, used in sums.found() if used.get("charge")]
            buckets.append(_bucket(start_us, end_us, results))
        return json(asked.page_of(buckets))

    # --- projects and keys --------------------------------------------------------------------------------------

    async def projects(self, request: Request) -> Response:
        """Every tenant, by name."""
        names = [tenant.name for tenant in self._controller.catalog.tenants]
        return json(_listed(request, [self._project(name) for name in names]))

    async def project(self, request: Request) -> Response:
        """One tenant."""
        return json(self._project(self._tenant(request)))

    def _project(self, name: str) -> dict[str, Any]:
        created_s = self._controller.loop.created_s
        return {
            "id": name, "object": "organization.project", "name": name, "created_at": created_s, "archived_at": None,
            "status": "active",
        }  # fmt: skip

    async def keys(self, request: Request) -> Response:
        """The tenant's keys that are valid."""
        tenant = self._tenant(request)
        found = [_key(record) for record in self._controller.keyring.records() if record.tenant == tenant]
        return json(_listed(request, found))

    async def key(self, request: Request) -> Response:
        """One of them."""
        return json(_key(self._record(request)))

    async def revoke(self, request: Request) -> Response:
        """Refuse a key from now on."""
        control, record = self._controller, self._record(request)
        control.keyring.revoke(record.id, control.clock.now_us())
        control.records.decide("key.revoke", record.id, "an administrator asked for it")
        await control.keys_changed()
        return json({"object": "organization.project.api_key.deleted", "id": record.id, "deleted": True})

    def _record(self, request: Request) -> KeyRecord:
        tenant, name = self._tenant(request), request.path_params["key"]
        for record in self._controller.keyring.records():
            if (record.tenant, record.id) == (tenant, name):
                return record
        raise errors.Invalid(f"project {tenant} has no key {name[:40]!r}", code="not_found", status=404)

    def _tenant(self, request: Request) -> str:
        name = str(request.path_params["project"])
        names = [tenant.name for tenant in self._controller.catalog.tenants]
        if name not in names:
            raise errors.Invalid(
                f"there is no project {name[:80]!r}; projects are the tenants of the cloud file: {', '.join(names)}",
                code="not_found",
                status=404,
            )
        return name

    # --- spend limits -------------------------------------------------------------------------------------------

    async def limit(self, request: Request) -> Response:
        """The tenant's budget a month."""
        return json(self._limit(self._tenant(request)))

    def _limit(self, tenant: str) -> dict[str, Any]:
        scope = f"tenant:{tenant}"
        found = next((b for b in self._controller.budgets.all() if (b.scope, b.period) == (scope, "month")), None)
        if found is None:
            raise errors.Invalid(f"project {tenant} has no spend limit", code="not_found", status=404)
        return {
            "object": "project.spend_limit",
            "threshold_amount": found.limit_nanousd // NANOUSD_PER_CENT,
            "currency": "USD",
            "interval": "month",
            "enforcement": {"status": "inactive" if found.at_limit == "notify" else "enforcing"},
        }

    async def set_limit(self, request: Request) -> Response:
        """Set it; in force before the answer."""
        control, tenant = self._controller, self._tenant(request)
        wanted = await decoded(request, SpendLimit)
        if wanted.threshold_amount < 1 or wanted.currency != "USD" or wanted.interval != "month":
            raise errors.Invalid("a spend limit is at least 1 cent, in USD, a month", code="invalid_body")
        budget = Budget(
            scope=f"tenant:{tenant}", period="month", limit_nanousd=wanted.threshold_amount * NANOUSD_PER_CENT
        )
        control.store.terms(budgets=[budget])
        control.records.decide("budget.set", budget.scope, f"{wanted.threshold_amount} cents a month, then refuse")
        await control.budgets_changed()
        return json(self._limit(tenant))

    async def drop_limit(self, request: Request) -> Response:
        """Remove it; one of the cloud file stands in it."""
        control, scope = self._controller, f"tenant:{self._tenant(request)}"
        kept = [b for b in control.store.statements.budgets() if (b.scope, b.period) == (scope, "month")]
        if not kept:
            raise errors.Invalid(f"no spend limit was set for {scope} here", code="not_found", status=404)
        control.store.terms(without=kept)
        control.records.decide("budget.remove", scope, "the month's budget was removed")
        await control.budgets_changed()
        return json({"object": "project.spend_limit.deleted", "deleted": True})


class _Asked:
    """A query of usage or costs: which buckets, grouped by what, of whom. Raises Invalid."""

    def __init__(self, request: Request, now_us: int, groups: dict[str, str], widths: tuple[str, ...]) -> None:
        query = request.query_params
        width = query.get("bucket_width", "1d")
        if width not in widths:
            raise errors.Invalid(
                f"bucket_width is {width[:10]!r}; give {' or '.join(widths)}: usage is kept by the hour",
                param="bucket_width",
            )
        self.length_us, default, most = _WIDTHS[width]
        start_us = _whole(query.get("start_time"), "start_time", 1 << 40) * US_PER_S
        end = query.get("end_time")
        self.end_us = now_us if end is None else _whole(end, "end_time", 1 << 40) * US_PER_S
        given = _many(request, "group_by")
        for name in given:
            if name not in groups:
                raise errors.Invalid(f"group_by is {name[:40]!r}; give some of {', '.join(groups)}", param="group_by")
        self.groups = {name: groups[name] for name in given}
        self.tenants, self.keys = set(_many(request, "project_ids")), set(_many(request, "api_key_ids"))
        self.models = set(_many(request, "models"))
        self._limit = min(most, _whole(query.get("limit", str(default)), "limit", most) or default)
        self._first_us = _page(query.get("page")) if "page" in query else start_us - start_us % self.length_us

    def buckets(self) -> list[tuple[int, int]]:
        """Beginning and end of each."""
        found: list[tuple[int, int]] = []
        at_us = self._first_us
        while at_us < self.end_us and len(found) < self._limit:
            found.append((at_us, at_us + self.length_us))
            at_us += self.length_us
        return found

    def page_of(self, buckets: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer, with where to go on."""
        next_us = self._first_us + len(buckets) * self.length_us
        more = next_us < self.end_us
        page = base64.urlsafe_b64encode(f"page_{next_us}".encode()).decode() if more else None
        return {"object": "page", "data": buckets, "has_more": more, "next_page": page}


class _Sums:
    """Rows of the books, added up by what was asked for."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._sums: dict[tuple[str | None, ...], dict[str, int]] = {}

    def add(self, row: dict[str, Any], what: str, amount: int) -> None:
        asked = self._asked
        if asked.tenants and row["tenant"] not in asked.tenants:
            return
        if (asked.keys and row["key"] not in asked.keys) or (asked.models and row["model"] not in asked.models):
            return
        sums = self._sums.setdefault(tuple(row[column] for column in asked.groups.values()), {})
        sums[what] = sums.get(what, 0) + amount

    def found(self) -> list[tuple[dict[str, Any], dict[str, int]]]:
        """The names of each group, and its sums."""
        names = tuple(self._asked.groups)
        return [(dict(zip(names, place, strict=True)), self._sums[place]) for place in sorted(self._sums, key=str)]


def _usage(what: str, names: dict[str, Any], used: dict[str, int]) -> dict[str, Any]:
    fresh, cached = used.get("input_tokens", 0), used.get("cached_tokens", 0)
    made: dict[str, Any] = {
        "object": f"organization.usage.{what}.result",
        "input_tokens": fresh + cached,
        "num_model_requests": used.get("requests", 0),
        **{name: names.get(name) for name in ("project_id", "api_key_id", "model")},
        "user_id": None,
    }
    if what == "completions":
        made |= {
            "output_tokens": used.get("output_tokens", 0),
            "input_cached_tokens": cached,
            "input_audio_tokens": 0,
            "output_audio_tokens": 0,
            "batch": None,
        }
    return made


def _cost(names: dict[str, Any], nanousd: int) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": nanousd / 1e9, "currency": "usd"},
        **{name: names.get(name) for name in ("line_item", "project_id", "api_key_id")},
    }


def _bucket(start_us: int, end_us: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "bucket", "start_time": start_us // US_PER_S, "end_time": end_us // US_PER_S, "results": results,
    }  # fmt: skip


def _key(record: KeyRecord) -> dict[str, Any]:
    created_s = record.created_us // US_PER_S
    owner = {"id": record.id, "name": record.name or record.id, "created_at": created_s, "role": record.role}
    return {
        "object": "organization.project.api_key",
        "id": record.id,
        "name": record.name or record.id,
        "redacted_value": f"hr-{record.id}-***",
        "created_at": created_s,
        "last_used_at": None,
        "owner_project_access": "active",
        "owner": {"type": "service_account", "service_account": owner},
    }


def _listed(request: Request, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of a list."""
    limit = _whole(request.query_params.get("limit", "20"), "limit", LISTED_MAX) or 20
    after = request.query_params.get("after")
    names = [one["id"] for one in found]
    if after is not None:
        if after not in names:
            raise errors.Invalid(f"after is {after[:40]!r}, which is not in this list", param="after")
        found = found[names.index(after) + 1 :]
    page = found[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, **ends, "has_more": len(found) > limit}


def _many(request: Request, name: str) -> list[str]:
    """A parameter that may be repeated, with or without brackets, or have commas."""
    given = [*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]")]
    return [word for words in given for word in words.split(",") if word][:LISTED_MAX]


def _whole(given: str | None, name: str, most: int) -> int:
    if given is None:
        raise errors.Invalid(f"{name} is missing; give unix seconds", param=name)
    if not (given.isascii() and given.isdigit() and len(given) <= 13 and int(given) <= most):
        raise errors.Invalid(f"{name} is {given[:40]!r}; give a whole number from 0 to {most}", param=name)
    return int(given)


def _page(given: str | None) -> int:
    try:
        text = base64.urlsafe_b64decode((given or "").encode()).decode()
        word, _, moment = text.partition("_")
        if word == "page" and len(moment) <= 19:
            return int(moment)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pass
    raise errors.Invalid("page is not one that an answer gave", param="page")
