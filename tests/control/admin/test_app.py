"""The admin API over a real controller object: who may, what is refused and how, and the main verbs."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from headrace.control import catalogs, keys
from headrace.control.adapters import Adapters
from headrace.control.admin import app
from headrace.control.admin.repeats import Once
from headrace.control.admin.routes import BODY_BYTES_MAX, AdminRoute, json
from headrace.control.controller import Controller
from headrace.ports import KeyRecord
from headrace.settings import Settings
from headrace.specs.catalog import TenantSpec
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.usage import Begun, Usage
from headrace.stores import journal_reader
from headrace.stores.repeats import FileRepeats
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import MACHINE, SimClock, SimEngine, SimSubstrate, catalog, model

CLOUD = """
version: 1
pools:
  local: {accelerator: cpu, price_per_hour: 0.08}
models:
  m:
    task: chat
    source: package://x/y.gguf
    memory: 1GiB
    engine: {kind: llama_cpp}
"""


class Door:
    """One controller's API, and keys to it."""

    def __init__(self, home: Path) -> None:
        self.settings = settings = Settings(home=home)
        for folder in (settings.run, settings.journals):
            folder.mkdir(parents=True, exist_ok=True)
        self.store, self.clock = SqliteStore(settings.database), SimClock()
        wanted = catalog(
            model(), model("other"), tenants=(TenantSpec(name="default"), TenantSpec(name="team", models=("m",)))
        )
        catalogs.save(self.store, wanted)
        self.admin = keys.bootstrap(settings, self.store, self.clock) or ""
        adapters = Adapters(
            store=self.store,
            substrate=SimSubstrate(self.clock),
            engines={kind: SimEngine(kind) for kind in ("llama_cpp", "onnx", "openai", "openvino", "vllm")},
            find_artifact=lambda _: None,
            command=lambda role: ("false", role),
            journal_reader=journal_reader,
            clock=self.clock,
        )
        self.control = Controller(settings, adapters)
        self.control.loop.machine = list(MACHINE)
        self.client = TestClient(app.build(self.control, self.repeats("first")), raise_server_exceptions=False)

    def repeats(self, epoch: str) -> FileRepeats:
        """What a controller of that epoch remembers."""
        return FileRepeats(self.settings.repeats, keys.pepper(self.settings), epoch, epoch.__eq__)

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {key or self.admin}", **more.pop("headers", {})}
        at = path if path in ("/metrics", "/openapi.json") else f"/headrace/v1/{path}"
        return self.client.request(method, at, headers=headers, **more)

    def user(self, tenant: str = "team") -> str:
        return str(self.ask("POST", "keys", json={"tenant": tenant}).json()["key"])

    def used(self, request: str, tenant: str, **more: Any) -> None:
        fields = {"epoch": "e", "key": "k", "model": "m", "task": "chat", "outcome": "finished", "status": 200}
        row = Usage(request=request, tenant=tenant, **(fields | {"arrived_us": 1, "ended_us": 1_500_001} | more))
        self.store.usage_add([row], {})


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def error(answer: Any) -> tuple[int, str]:
    body = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return answer.status_code, body["code"]


def test_no_route_without_a_key(door):
    """Every route, whatever the method, tells nothing to a stranger."""
    for route in app.declared(door.control):
        answer = door.client.request(route.method, route.path.replace("{id}", "x"))
        assert error(answer) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_admin_routes_refuse_users(door):
    """By the role that each route declares; the error says how to get the other."""
    user = door.user()
    for route in app.declared(door.control):
        if route.role == "admin":
            headers = {"Authorization": f"Bearer {user}"}
            path = route.path.replace("{id}", "x").replace("{project}", "team").replace("{key}", "x")
            assert error(door.client.request(route.method, path, headers=headers)) == (403, "permission_denied")


def test_a_route_without_a_role_does_not_start(door):
    """Forgetting is refused, not open."""

    async def handler(_request: Any) -> Any:
        return json({})

    once = Once(door.repeats("first"), door.clock)
    with pytest.raises(ValueError, match="declares no role"):
        app.served(door.control.keyring, [AdminRoute("GET", "/x", "", "x", handler)], once)  # type: ignore[arg-type]


def test_both_forms_of_the_header_are_one(door):
    """`x-api-key` proves the same; a wrong bearer is not saved by it."""
    assert door.client.get("/headrace/v1/status", headers={"x-api-key": door.admin}).status_code == 200
    both = {"x-api-key": door.admin, "Authorization": "Bearer wrong"}
    assert door.client.get("/headrace/v1/status", headers=both).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "nothing", (404, "not_found")), ("PUT", "keys", (405, "method_not_allowed"))],
)
def test_unknown_paths_and_methods(door, method, path, expected):
    """With OpenAI's error object; a wrong method is told all that are right."""
    answer = door.ask(method, path)
    assert error(answer) == expected
    if expected[0] == 405:
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_a_key_is_shown_once_and_revoked_for_gateways_at_once(door):
    """The table that gateways are sent has it after the answer, and has it no more after the revocation."""
    made = door.ask("POST", "keys", json={"name": "ci", "tenant": "team", "requests_per_minute": 5}).json()
    assert made["key"].startswith(f"hr-{made['id']}-")
    assert made["id"] in {key.id for key in door.control.publisher._table.keys}
    shown = door.ask("GET", "keys")
    assert made["key"] not in shown.text
    assert "digest" not in shown.text
    for _ in range(2):
        assert door.ask("DELETE", f"keys/{made['id']}").json()["revoked"]
        assert made["id"] not in {key.id for key in door.control.publisher._table.keys}
    assert door.ask("GET", "status", made["key"]).status_code == 401
    assert [e["kind"] for e in door.ask("GET", f"events?subject={made['id']}").json()["events"]][-1] == "key.create"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"nmae": "x"}',
        b'{"role": "root"}',
        b'{"tenant": "nobody"}',
        b'{"models": ["nothing"]}',
        b'{"models": []}',
        b'{"requests_per_minute": -1}',
        b'{"requests_per_minute": 1e300}',
        b'{"requests_per_minute": true}',
        b'{"concurrency": "5"}',
        b"[" * 100_000,
        b'{"name": "' + b"x" * 1000 + b'"}',
    ],
)
def test_bad_bodies_are_refused_and_make_no_key(door, body):
    """Unknown fields, wrong types and endless nesting alike: 400, and nothing is kept."""
    answer = door.ask("POST", "keys", content=body)
    assert error(answer)[0] == 400
    assert len(door.store.keys()) == 1


def test_bodies_are_bounded_however_they_are_framed(door):
    """A declared length and a chunked flood end alike."""
    chunks = (b" " * 65536 for _ in range(1 + BODY_BYTES_MAX // 65536))
    for content in (b" " * (BODY_BYTES_MAX + 1), chunks):
        assert error(door.ask("POST", "check", content=content)) == (413, "request_too_large")


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1001", "limit=²", "limit=" + "9" * 5000, "after=1.5"])
def test_numbers_of_the_query_are_bounded(door, query):
    """What is not a whole number within its bounds is a 400."""
    assert error(door.ask("GET", f"events?{query}"))[0] == 400


def test_check_tells_faults_with_their_place_and_what_does_not_fit(door):
    """422 with file:line:col; then the fit on this machine; then what the engine says."""
    assert door.ask("POST", "check", content=CLOUD).json()["models"] == ["m@v1"]
    for path in ("check", "apply?dry_run=true"):
        assert door.ask("POST", path, content=CLOUD).json()["warnings"] == []
        (warned,) = door.ask("POST", path, content=CLOUD + "    hedge: true\n").json()["warnings"]
        assert warned.startswith("m@v1: hedge is never done")
    wrong = door.ask("POST", "check?filename=my.yaml", content=CLOUD.replace("task", "taks"))
    assert error(wrong) == (422, "invalid_cloud_file")
    assert "my.yaml:7:" in wrong.json()["error"]["message"]
    large = door.ask("POST", "check", content=CLOUD.replace("1GiB", "64GiB"))
    assert error(large) == (422, "does_not_fit")
    absent = door.ask("POST", "check", content=CLOUD.replace("x/y.gguf", "missing/y.gguf"))
    assert "missing/y.gguf is not there" in absent.json()["error"]["message"]
    assert error(door.ask("POST", "check", content=b"\xff\xfe"))[0] == 400


def test_relative_sources_are_of_the_folder_that_is_given(door):
    """Not of the controller's own; a folder that is itself relative is refused."""
    moved = CLOUD.replace("package://x/y.gguf", "w/y.gguf")
    (model,) = door.ask("POST", "check?folder=/srv/cloud", content=moved).json()["catalog"]["models"]
    assert model["source"] == "/srv/cloud/w/y.gguf"
    assert error(door.ask("POST", "check", content=moved)) == (422, "invalid_cloud_file")
    assert error(door.ask("POST", "check?folder=srv", content=moved))[0] == 400


def test_apply_shows_first_is_guarded_by_revision_and_idempotent(door):
    """A dry run changes nothing; a stale guard is refused; applied again there is no difference and no event."""
    before = door.control.catalog.revision
    dry = door.ask("POST", "apply?dry_run=true", content=CLOUD).json()
    assert (dry["before"], dry["applied"], door.control.catalog.revision) == (before, False, before)
    assert "- model other@v1" in " ".join(change["text"] for change in dry["diff"])
    assert error(door.ask("POST", "apply", content=CLOUD, headers={"If-Match": '"stale"'})) == (409, "conflict")
    done = door.ask("POST", "apply", content=CLOUD, headers={"If-Match": f'"{before}"'}).json()
    assert done["applied"]
    assert catalogs.load(door.store) == door.control.catalog
    assert door.ask("GET", "catalog").headers["etag"] == f'"{done["revision"]}"'
    assert door.ask("POST", "apply", content=CLOUD).json()["diff"] == []
    applied = [e["subject"] for e in door.ask("GET", "events").json()["events"] if e["kind"] == "catalog.apply"]
    assert applied == [done["revision"]]
    assert error(door.ask("POST", "apply?dry_run=maybe", content=CLOUD))[0] == 400


def test_a_reference_that_cannot_be_read_is_told_before_it_is_applied(door):
    """A missing secret is a fault of the file at the desk, not of a model at night."""
    text = CLOUD + "tenants:\n  default: {keys: ['env:HEADRACE_TEST_NOT_SET']}\n"
    answer = door.ask("POST", "apply", content=text)
    assert error(answer) == (422, "does_not_fit")
    assert "HEADRACE_TEST_NOT_SET is not set" in answer.json()["error"]["message"]


def test_users_see_their_own(door):
    """Status without replicas and gateways, their models, their usage, and nobody else's requests."""
    user = door.user("team")
    door.used("req_team", "team")
    door.used("req_other", "default", ended_us=9_000_000)
    seen = door.ask("GET", "status", user).json()
    assert ([m["name"] for m in seen["models"]], seen["requests"]) == (["m"], 1)
    assert [row["request"] for row in door.ask("GET", "usage?tenant=default", user).json()["usage"]] == ["req_team"]
    assert door.ask("GET", "explain/last", user).json()["id"] == "req_team"
    assert error(door.ask("GET", "explain/req_other", user)) == (404, "not_found")
    assert door.ask("GET", "explain/last").json()["id"] == "req_other"


def test_explain_says_why_a_request_waited(door):
    """The route, the wait and its cause, timing, tokens and end; the decision and the lease behind them."""
    lease = Lease(
        replica="m-1", incarnation="i", model="m", version="v1", pool="local", node="local", device="cpu",
        memory_bytes=1, share_ppm=250_000, started_us=10, ready_us=900_010, cause="one request waits",
    )  # fmt: skip
    door.store.lease_put(lease)
    door.store.decide(Decision(at_us=9, kind="replica.start", subject="m-1", reason="one request waits"))
    door.used(
        "req_1", "team", replica="m-1", incarnation="i", version="v1", cold=True, queue_us=950_000, first_us=1_200_000,
        busy_us=500_000, input_tokens=12, cached_tokens=4, output_tokens=30, why="the only ready replica", attempts=2,
    )  # fmt: skip
    told = door.ask("GET", "explain/req_1").json()
    text = "\n".join(told["text"])
    for piece in ("2 attempts", "the only ready replica", "950 ms, since the model was asleep", "one request waits"):
        assert piece in text
    assert "12 in (4 cached), 30 out" in text
    assert (told["lease"]["incarnation"], told["decision"]["kind"]) == ("i", "replica.start")
    replica = door.ask("GET", "explain/m-1").json()
    assert replica["kind"] == "replica"
    assert "25.0 % of it, ready after 900 ms; runs" in replica["text"][-1]


def test_explain_of_a_model_says_where_it_stands_and_what_was_decided(door):
    """Its replicas' decisions with their reasons, what is so now; for each version where it has several."""
    lease = Lease(
        replica="m-1", incarnation="i", model="m", version="v1", pool="local", node="local", device="cpu",
        memory_bytes=1, share_ppm=250_000, started_us=10, cause="one request waits",
    )  # fmt: skip
    door.store.lease_put(lease)
    door.store.decide(Decision(at_us=9, kind="replica.start", subject="m-1", reason="one request waits"))
    door.store.decide(Decision(at_us=10, kind="replica.ready", subject="m-1", reason="ready after 1 ms"))
    for name in ("m", "m@v1"):
        told = door.ask("GET", f"explain/{name}").json()
        assert told["id"] == "m@v1"
        assert told["text"][0].endswith("replica.start    m-1: one request waits")
        assert told["text"][-1] == (
            "now       no replica: it is started when it is asked for (min 0, max 2); 100 % of the traffic"
        )
    one, other = door.control.catalog.models
    second = msgspec.structs.replace(one, version="v2", weight=0)
    door.control.loop.catalog = msgspec.structs.replace(door.control.catalog, models=(one, second, other))
    told = door.ask("GET", "explain/m").json()
    assert [line for line in told["text"] if line.endswith(":")] == ["m@v1:", "m@v2:"]
    assert [line.rpartition("; ")[2] for line in told["text"] if line.startswith("now")] == [
        "100 % of the traffic",
        "0 % of the traffic",
    ]


def test_explain_knows_requests_that_are_still_at_work(door):
    """Begun and not ended: said so."""
    door.control.bookkeeper._open["e"] = {
        "req_1": [Begun(request="req_1", epoch="e", tenant="team", key="k", model="m", task="chat", arrived_us=1)]
    }
    assert "at work since" in door.ask("GET", "explain/req_1").json()["text"][-1]


def test_a_full_disk_is_a_503_that_says_when_to_try_again(door, monkeypatch):
    """Nothing is half done."""
    from headrace.errors import Transient

    def full(*_: object) -> None:
        raise Transient("the disk is full")

    monkeypatch.setattr(door.store, "key_put", full)
    answer = door.ask("POST", "keys", json={})
    assert error(answer) == (503, "storage_unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_mistake_of_ours_is_a_500_that_tells_nothing(door, monkeypatch):
    """The log has it; the caller does not."""

    def broken(**_: object) -> None:
        raise RuntimeError("s3cret detail")

    monkeypatch.setattr(door.store, "lease_list", broken)
    answer = door.ask("GET", "leases")
    assert error(answer) == (500, "internal_error")
    assert "s3cret" not in answer.text


def test_replicas_that_are_not_there(door):
    """Stopping and reading logs say which there are."""
    assert error(door.ask("POST", "replicas/none/stop")) == (404, "not_found")
    assert door.ask("GET", "replicas").json() == {"replicas": []}


def test_the_description_has_every_route_and_its_form(door):
    """OpenAPI 3.1, made from the routes themselves; what they answer conforms to it."""
    described = door.ask("GET", "/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    served = {(route.path, route.method) for route in app.declared(door.control)}
    assert {(path, method.upper()) for path, at in described["paths"].items() for method in at} == served
    status = described["paths"]["/headrace/v1/status"]["get"]["responses"]["200"]["content"]["application/json"]
    assert status["schema"] == {"$ref": "#/components/schemas/Status"}
    required = set(described["components"]["schemas"]["Status"]["required"])
    assert required <= set(door.ask("GET", "status").json())


def test_metrics_are_a_page_for_admins(door):
    """In the text form that Prometheus reads."""
    answer = door.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'headrace_replicas{model="m",phase="ready"} 0.0' in answer.text


def test_routes_are_starlette_s_own(door):
    """One for each path."""
    routes = app.build(door.control, door.repeats("first")).routes
    assert all(isinstance(route, Route) for route in routes)
    assert len({route.path for route in routes if isinstance(route, Route)}) == len(routes)


def test_key_views_have_no_digest():
    """Whatever a record gains later, its digest stays inside."""
    from headrace.control.admin.views import key_view

    record = KeyRecord(id="a", digest="dddd", tenant="t", role="user")
    assert b"dddd" not in msgspec.json.encode(key_view(record))


def test_the_books_are_proved_against_what_was_noted(door):
    """A head that was told is still held; another one is found, and one that is no head is refused."""
    door.used("r1", "team", model="m", version="v1", input_tokens=5, output_tokens=5, charge_nanousd=7)
    first = door.ask("GET", "cost/verify").json()
    assert first["ok"]
    noted = f"{first['entries']}:{first['head']}"
    assert door.ask("GET", f"cost/verify?head={noted}").json()["ok"]
    found = door.ask("GET", f"cost/verify?head={first['entries']}:{'0' * 64}").json()
    assert not found["ok"]
    assert "written anew" in found["found"][0]
    assert error(door.ask("GET", "cost/verify?head=last"))[0] == 400
    assert first["head"] in door.settings.witness.read_text()
