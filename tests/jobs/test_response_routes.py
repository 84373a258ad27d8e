"""Stored responses as a part of the runner, over a gateway that answers as a test says, and real records."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.jobs.response_routes import ResponseService
from headrace.jobs.response_work import Shelf
from headrace.serving import process
from headrace.serving.caller import Door
from headrace.serving.loopback import Answered, Loopback
from headrace.state import keys
from headrace.stores.records import SqliteRecords
from tests.wire.bodies import RESPONSES, conforms

PEPPER = bytes(range(32))
PATH = "/v1/responses"


class Clock:
    def __init__(self, now_s: int = 1_000) -> None:
        self.now_s = now_s

    def now_us(self) -> int:
        return self.now_s * 1_000_000

    def monotonic_us(self) -> int:
        return 0


class Gateway(Loopback):
    """Answers `n` to the n-th question, counted from 1, unless it was told to say something else first."""

    def __init__(self, *first: Answered) -> None:
        super().__init__("127.0.0.1", 1, PEPPER)
        self.first = list(first)
        self.asked: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.caps: list[str | None] = []
        self.let = asyncio.Event()
        self.let.set()

    async def send(self, method: str, path: str, *, key: str, data: bytes = b"", headers: Any = None) -> Answered:
        if "x-headrace-dry-run" in (headers or {}):
            assert "idempotency-key" not in headers
            return self.first.pop(0) if self.first else Answered(200, {}, b'{"object":"headrace.quote"}')
        self.asked.append(json.loads(data))
        self.names.append((headers or {}).get("idempotency-key", ""))
        self.caps.append((headers or {}).get("x-headrace-max-cost"))
        await self.let.wait()
        if self.first:
            return self.first.pop(0)
        text = {"type": "output_text", "text": str(len(self.asked)), "annotations": [], "logprobs": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
        made = {"id": f"resp_{len(self.asked)}", "object": "response", "status": "completed", "output": [item],
                "store": False, "usage": {"input_tokens": 1}}  # fmt: skip
        return Answered(200, {"x-headrace-cost": "0.000000005"}, json.dumps(made).encode())


def refusal(status: int, code: str, **headers: str) -> Answered:
    return Answered(status, headers, json.dumps({"error": {"message": "no", "code": code, "param": None}}).encode())


class Runner:
    """The part, asked as gateways ask it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(
        self, method: str, path: str = "", body: Any = None, *, tenant: str = "t", **more: str
    ) -> httpx.Response:
        proof = keys.proof(PEPPER, keys.RUNNER)
        who = {"x-headrace-proof": proof, "x-headrace-key": "k", "x-headrace-tenant": tenant, "x-headrace-role": "user"}
        return await self._client.request(method, f"http://runner{PATH}{path}", json=body, headers={**who, **more})

    async def make(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", body={"model": "m", "input": "Hi", **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, name: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (found := (await self.ask("GET", f"/{name}")).json())["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0)
        return found


def running(
    folder: Path, gateway: Gateway, work: Callable[[Runner], Awaitable[None]], clock: Clock | None = None
) -> None:
    async def main() -> None:
        records = SqliteRecords(folder / "jobs.db")
        service = ResponseService(Shelf(records, gateway, clock or Clock()), Door(PEPPER))
        await service.begin()
        try:
            transport = httpx.ASGITransport(process.app([service]))
            async with httpx.AsyncClient(transport=transport) as client:
                await work(Runner(client))
        finally:
            await service.stop()
            records.close()

    asyncio.run(main())


def test_a_conversation_goes_on_from_what_is_stored(tmp_path: Path):
    """Each turn asks with all that was said; what was not to be stored is not."""
    gateway = Gateway()

    async def work(here: Runner) -> None:
        one = await here.make(input="one", store=True, instructions="Be brief.")
        assert (one["id"], one["store"], one["previous_response_id"]) == ("resp_1", True, None)
        assert one["usage"]["headrace"] == {"cost": "0.000000005", "unit": "USD"}
        two = await here.make(input="two", store=True, previous_response_id=one["id"])
        three = await here.make(input="three", previous_response_id=two["id"])
        assert (three["store"], three["previous_response_id"]) == (False, "resp_2")
        texts = [item["content"][0]["text"] for item in gateway.asked[-1]["input"]]
        assert texts == ["one", "1", "two", "2", "three"]
        assert "instructions" not in gateway.asked[-1]
        assert not {"store", "previous_response_id", "background"} & gateway.asked[-1].keys()
        assert (await here.ask("GET", "/resp_2")).json() == two
        assert (await here.ask("GET", "/resp_3")).status_code == 404

    running(tmp_path, gateway, work)


def test_its_input_is_listed_in_pages(tmp_path: Path):
    async def work(here: Runner) -> None:
        one = await here.make(input="one", store=True)
        two = await here.make(input="two", store=True, previous_response_id=one["id"])
        page = (await here.ask("GET", f"/{two['id']}/input_items?limit=2")).json()
        conforms("ResponseItemList", page, RESPONSES)
        assert [item["content"][0]["text"] for item in page["data"]] == ["two", "1"]
        assert page["has_more"] is True
        rest = (await here.ask("GET", f"/{two['id']}/input_items?after={page['last_id']}")).json()
        assert [item["content"][0]["text"] for item in rest["data"]] == ["one"]
        assert rest["has_more"] is False
        assert (await here.ask("GET", f"/{two['id']}/input_items?after=nope")).status_code == 400

    running(tmp_path, Gateway(), work)


def test_no_tenant_sees_what_is_anothers(tmp_path: Path):
    """Neither by reading, nor by going on from it, deleting it or calling it off."""

    async def work(here: Runner) -> None:
        one = await here.make(store=True)
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            assert (await here.ask(method, f"/{one['id']}{path}", tenant="other")).status_code == 404
        body = {"model": "m", "input": "x", "previous_response_id": one["id"]}
        answer = await here.ask("POST", body=body, tenant="other")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "previous_response_not_found")
        assert (await here.ask("GET", f"/{one['id']}")).status_code == 200

    running(tmp_path, Gateway(), work)


def test_deleted_is_gone_and_old_is_swept(tmp_path: Path):
    clock = Clock()

    async def begin(here: Runner) -> None:
        one, two = await here.make(store=True), await here.make(store=True)
        gone = (await here.ask("DELETE", f"/{one['id']}")).json()
        assert gone == {"id": one["id"], "object": "response", "deleted": True}
        assert (await here.ask("GET", f"/{one['id']}")).status_code == 404
        assert (await here.ask("GET", f"/{two['id']}")).status_code == 200

    async def later(here: Runner) -> None:
        async with asyncio.timeout(10):
            while (await here.ask("GET", "/resp_2")).status_code == 200:
                await asyncio.sleep(0)

    running(tmp_path, Gateway(), begin, clock)
    clock.now_s += 31 * 86_400
    running(tmp_path, Gateway(), later, clock)


def test_a_refusal_is_the_gateways_and_leaves_nothing(tmp_path: Path):
    gateway = Gateway(refusal(429, "rate_limit_exceeded", **{"retry-after": "3"}))

    async def work(here: Runner) -> None:
        answer = await here.ask("POST", body={"model": "m", "input": "x", "store": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "3"
        answer = await here.ask("POST", body={"model": "pipeline/x", "input": "x", "store": True})
        assert answer.json()["error"]["param"] == "model"

    running(tmp_path, gateway, work)


def test_in_the_background_it_is_asked_for_until_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Busy is waited out; the answer has the name that was given at once, and its charge."""
    monkeypatch.setattr("headrace.jobs.response_work.WAIT_S", 0.0)
    gateway = Gateway()
    gateway.let.clear()

    async def work(here: Runner) -> None:
        begun = await here.make(background=True)
        conforms("Response", begun, RESPONSES)
        assert (begun["status"], begun["background"], begun["store"]) == ("queued", True, True)
        answer = await here.ask("POST", body={"model": "m", "input": "x", "previous_response_id": begun["id"]})
        assert answer.status_code == 409
        gateway.first = [refusal(503, "overloaded"), refusal(502, "upstream_failed")]
        gateway.let.set()
        made = await here.ended(begun["id"])
        assert (made["id"], made["status"]) == (begun["id"], "completed")
        assert made["usage"]["headrace"]["cost"] == "0.000000005"
        assert gateway.names == [f"{begun['id']}/1"] * 3
        assert (await here.ask("POST", f"/{begun['id']}/cancel")).json() == made

    running(tmp_path, gateway, work)


def test_what_would_be_refused_is_refused_before_it_is_queued(tmp_path: Path):
    async def work(here: Runner) -> None:
        answer = await here.ask("POST", body={"model": "none", "input": "x", "background": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")

    running(tmp_path, Gateway(refusal(404, "model_not_found")), work)


def test_what_cannot_be_answered_has_failed(tmp_path: Path):
    gateway = Gateway()
    gateway.let.clear()

    async def work(here: Runner) -> None:
        begun = await here.make(background=True)
        gateway.first = [refusal(429, "insufficient_quota")]
        gateway.let.set()
        made = await here.ended(begun["id"])
        conforms("Response", made, RESPONSES)
        assert (made["status"], made["error"]) == (
            "failed",
            {"code": "server_error", "message": "insufficient_quota: no"},
        )

    running(tmp_path, gateway, work)


def test_one_in_the_background_can_be_called_off_and_no_other(tmp_path: Path):
    gateway = Gateway()

    async def work(here: Runner) -> None:
        stored = await here.make(store=True)
        assert (await here.ask("POST", f"/{stored['id']}/cancel")).status_code == 400
        gateway.let.clear()
        begun = await here.make(background=True)
        off = (await here.ask("POST", f"/{begun['id']}/cancel")).json()
        assert off["status"] == "cancelled"
        assert (await here.ask("GET", f"/{begun['id']}")).json() == off

    running(tmp_path, gateway, work)


def test_the_next_runner_goes_on_under_the_same_name(tmp_path: Path):
    """So that what the gateway has answered is answered again, and paid once; what it does not keep is asked anew."""
    gateway, name = Gateway(), ""
    gateway.let.clear()

    async def begin(here: Runner) -> None:
        nonlocal name
        name = (await here.make(background=True))["id"]
        async with asyncio.timeout(10):
            while not gateway.names:
                await asyncio.sleep(0)

    async def later(here: Runner) -> None:
        assert (await here.ended(name))["status"] == "completed"

    running(tmp_path, gateway, begin)
    again = Gateway(refusal(409, "conflict"))
    running(tmp_path, again, later)
    assert [gateway.names, again.names] == [[f"{name}/1"], [f"{name}/1", f"{name}/2"]]


def test_headers_of_a_request_in_the_background_hold_for_it(tmp_path: Path):
    """The most it may cost goes along; an Idempotency-Key makes one response, and another body is refused."""
    gateway = Gateway()

    async def work(here: Runner) -> None:
        body = {"model": "m", "input": "Hi", "background": True}
        headers = {"idempotency-key": "mine", "x-headrace-max-cost": "9"}
        first = (await here.ask("POST", body=body, **headers)).json()
        await here.ended(first["id"])
        again = (await here.ask("POST", body=body, **headers)).json()
        assert (again["id"], again["status"]) == (first["id"], "completed")
        assert (await here.ask("POST", body={**body, "input": "Ho"}, **headers)).status_code == 422
        assert (await here.ask("POST", body=body, tenant="other", **headers)).json()["id"] != first["id"]
        assert (gateway.names[0], gateway.caps[0]) == (f"{first['id']}/1", "9")

    running(tmp_path, gateway, work)
