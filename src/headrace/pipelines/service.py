"""Pipelines and their runs over HTTP: a part of the runner's process."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace import telemetry
from headrace.errors import Invalid, Refused
from headrace.pipelines import estimate, graph, views
from headrace.pipelines.context import World
from headrace.pipelines.gateway import Gateway
from headrace.pipelines.runner import PYTHON, Runner, Wanted
from headrace.serving import bodies
from headrace.serving.bodies import answer
from headrace.serving.caller import Caller, Door
from headrace.specs import pipeline as spec
from headrace.specs.problem import closest
from headrace.state.run import Run
from headrace.units import duration_us


class Again(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A run that is to begin again."""

    step: str = ""
    cost: str | None = None
    time: str | None = None


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A run that is asked for over HTTP. See `runner.Wanted`."""

    pipeline: str = ""
    text: str = ""
    inputs: dict[str, Any] = {}
    cost: str | None = None
    time: str | None = None

    def wanted(self) -> Wanted:
        """With the time in microseconds. Raises Invalid."""
        return Wanted(pipeline=self.pipeline, text=self.text, inputs=self.inputs, cost=self.cost,
                      time_us=_span(self.time))  # fmt: skip


class Service:
    """`serving.Part`. `code` is the folder of pipelines in Python, which only this machine's operator writes."""

    def __init__(self, world: World, code: Path, door: Door) -> None:
        self._runner = Runner(world, code)
        self._code, self._door = code, door

    async def begin(self) -> None:
        """Go on with the runs that have not ended."""
        await asyncio.to_thread(self._code.mkdir, mode=0o700, exist_ok=True)
        telemetry.logger().info("pipelines.resumed", runs=self._runner.resume())

    async def stop(self) -> None:
        """Leave every run where it is."""
        await self._runner.stop()

    def routes(self) -> list[Route]:
        """Its paths."""
        at, runs = "/headrace/v1/pipelines", "/headrace/v1/runs"
        return [
            Route(at, self.pipelines, methods=["GET"]),
            Route(at, self.deploy, methods=["POST"]),
            Route(at + "/estimate", self.estimate, methods=["POST"]),
            Route(runs, self.list, methods=["GET"]),
            Route(runs, self.start, methods=["POST"]),
            Route(runs + "/{run}", self.show, methods=["GET"]),
            Route(runs + "/{run}/events", self.events, methods=["GET"]),
            Route(runs + "/{run}/cancel", self.cancel, methods=["POST"]),
            Route(runs + "/{run}/retry", self.retry, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]

    async def pipelines(self, request: Request) -> Response:
        """What is deployed."""
        found = self._runner.world.runs.deployed(self._door.caller(request).tenant)
        return answer({"object": "list", "data": [{"name": name, "model": f"pipeline/{name}"} for name in found]})

    async def deploy(self, request: Request) -> Response:
        """Keep a pipeline; it can be called as the model pipeline/NAME."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        if not asked.text and asked.pipeline:  # one in Python, which the operator has put in its folder
            self._runner.source(who.tenant, asked.wanted())
            return answer({"name": asked.pipeline, "model": f"pipeline/{asked.pipeline}"})
        found = spec.read(asked.text)
        graph.needs(found)
        await self._models(found, who.key)
        await self._runner.world.runs.deploy(who.tenant, found.name, asked.text)
        return answer({"name": found.name, "model": f"pipeline/{found.name}"})

    async def estimate(self, request: Request) -> Response:
        """What a run would cost."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        source = self._runner.source(who.tenant, asked.wanted())
        if source.startswith(PYTHON):
            raise Invalid("a pipeline in Python decides while it runs; only its cap is known before: see its `cost`")
        found = spec.read(source)
        given = graph.given(found, asked.inputs)
        return answer(await estimate.estimate(found, self._runner.world.models, who.key, given))

    async def start(self, request: Request) -> Response:
        """Start a run; with an Idempotency-Key, once."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        if asked.text:
            await self._models(spec.read(asked.text), who.key)
        once = request.headers.get("idempotency-key")
        run = await self._runner.start(who.tenant, who.key, asked.wanted(), run=_once(who, once))
        return answer(views.whole(self._runner.state(run)))

    async def list(self, request: Request) -> Response:
        """The newest runs of the caller's tenant; of all, for administrators."""
        who = self._door.caller(request)
        found = [self._runner.state(run) for run in self._runner.world.runs.recent(100)]
        return answer({"object": "list", "data": [views.summary(run) for run in found if _may(who, run)]})

    async def show(self, request: Request) -> Response:
        """All of a run."""
        return answer(views.whole(self._found(request)))

    async def events(self, request: Request) -> Response:
        """Its events as they come, until its end."""
        run = self._found(request).started.run

        async def lines() -> AsyncIterator[bytes]:
            async for event in self._runner.watch(run):
                yield b"data: " + msgspec.json.encode(event) + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def cancel(self, request: Request) -> Response:
        """End it."""
        run = self._found(request).started.run
        await self._runner.cancel(run)
        return answer(views.whole(self._runner.state(run)))

    async def retry(self, request: Request) -> Response:
        """Begin it again."""
        run, again = self._found(request).started.run, await bodies.read(request, Again)
        await self._runner.retry(run, step=again.step, cost=again.cost, time_us=_span(again.time))
        return answer(views.whole(self._runner.state(run)))

    async def chat(self, request: Request) -> Response:
        """A pipeline called as a model: its first input is the last turn; the answer is its output."""
        who, body = self._door.caller(request), msgspec.json.decode(await request.body())
        if body.get("stream"):
            raise Invalid("a pipeline answers whole; leave out stream, or read its run's events", param="stream")
        name = body["model"].removeprefix("pipeline/")
        source = self._runner.source(who.tenant, Wanted(pipeline=name))
        inputs = {} if source.startswith(PYTHON) else spec.read(source).input
        text = body["messages"][-1]["content"]
        first = next((word for word, value in inputs.items() if value is None), next(iter(inputs), "prompt"))
        wanted = Wanted(pipeline=name, inputs={first: text})
        run = await self._runner.start(
            who.tenant, who.key, wanted, run=_once(who, request.headers.get("idempotency-key"))
        )
        return _completion(await self._runner.ended(run), body["model"])

    async def _models(self, found: spec.Pipeline, key: str) -> None:
        models = self._runner.world.models
        assert isinstance(models, Gateway), "served with the gateway"
        known = await models.models(key)
        for step, one in found.steps.items():
            for name in filter(None, (one.model, *(other.model for other in one.or_else))):
                if "{{" not in name and name not in known:
                    raise Invalid(
                        f"step {step}: there is no model {name!r}{closest(name, known)}; see: headrace models",
                        code="model_not_found",
                        status=404,
                    )

    def _found(self, request: Request) -> Run:
        who, run = self._door.caller(request), self._runner.state(request.path_params["run"])
        if not _may(who, run):
            raise Invalid(f"there is no run {run.started.run!r}", code="not_found", status=404)
        return run


def _completion(run: Run, model: str) -> Response:
    ended = run.ended
    if ended is None or ended.phase != "finished":
        reason = f"{ended.error}; {ended.fix}" if ended else "the runner is stopping"
        raise Refused(f"{run.started.run} {run.phase}: {reason}", status=503, code="run_failed")
    text = ended.output if isinstance(ended.output, str) else msgspec.json.encode(ended.output).decode()
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    made = {"id": run.started.run, "object": "chat.completion", "created": ended.at_us // 1_000_000, "model": model,
            "choices": [choice], "usage": usage}  # fmt: skip
    said = answer(made)
    spent = run.spent_nanousd
    said.headers["x-headrace-cost"] = f"{spent // 10**9}.{spent % 10**9:09}"
    said.headers["x-headrace-cost-unit"] = "USD"
    said.headers["x-headrace-run"] = run.started.run
    return said


def _once(who: Caller, given: str | None) -> str:
    """The run of an Idempotency-Key, the same whenever it is sent."""
    if not given:
        return ""
    digest = hashlib.sha256(f"{who.tenant}/{given}".encode()).hexdigest()
    return f"run_{digest[:16]}"


def _may(who: Caller, run: Run) -> bool:
    return who.role == "admin" or run.started.tenant == who.tenant


def _span(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return duration_us(text)
    except ValueError as error:
        raise Invalid(str(error), param="time") from None
