"""Pipelines and their runs over HTTP: a part of the runner's process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace import telemetry
from headrace.errors import Invalid
from headrace.pipelines import artifacts, estimate, graph, parameters, retention, views
from headrace.pipelines.as_model import AsModel
from headrace.pipelines.context import World
from headrace.pipelines.gateway import Gateway
from headrace.pipelines.ports import Objects
from headrace.pipelines.runner import PYTHON, Runner, Wanted, new_id, once_of
from headrace.pipelines.shelf import Passing
from headrace.serving import bodies
from headrace.serving.bodies import answer
from headrace.serving.caller import Caller, Door
from headrace.specs import pipeline as spec
from headrace.specs.problem import closest
from headrace.state.run import Answered, AnyEvent, Run, StepEnded
from headrace.units import duration_us

WAIT_MAX_S: Final = 600


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
        self._sweeping: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Go on with the runs that have not ended, and from now on let go of those that were kept long enough."""
        await asyncio.to_thread(self._code.mkdir, mode=0o700, exist_ok=True)
        await retention.tidy(self._runner)
        telemetry.logger().info("pipelines.resumed", runs=self._runner.resume())
        self._sweeping = asyncio.create_task(retention.keep_swept(self._runner))

    async def stop(self) -> None:
        """Leave every run where it is."""
        if self._sweeping is not None:
            self._sweeping.cancel()
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
            Route(runs + "/{run}", self.delete, methods=["DELETE"]),
            Route(runs + "/{run}/events", self.events, methods=["GET"]),
            Route(runs + "/{run}/cancel", self.cancel, methods=["POST"]),
            Route(runs + "/{run}/retry", self.retry, methods=["POST"]),
            Route(runs + "/{run}/artifacts", self.artifacts, methods=["GET"]),
            Route(runs + "/{run}/artifacts/{name}", self.artifact, methods=["GET"]),
            *AsModel(self._runner, self._door).routes(),
        ]

    async def pipelines(self, request: Request) -> Response:
        """What is deployed, and the inputs of each: name to default, null where one must be given."""
        found = self._runner.world.runs.deployed(self._door.caller(request).tenant)
        listed = [
            {"name": name, "model": f"pipeline/{name}", "inputs": spec.read(text).input} for name, text in found.items()
        ]
        return answer({"object": "list", "data": listed})

    async def deploy(self, request: Request) -> Response:
        """Keep a pipeline; it can be called as the model pipeline/NAME."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        if not asked.text and asked.pipeline:  # one in Python, which the operator has put in its folder
            self._runner.source(who.tenant, asked.wanted())
            return answer({"name": asked.pipeline, "model": f"pipeline/{asked.pipeline}"})
        found = spec.read(asked.text)
        graph.needs(found)
        await self._models(found, who.key, who.tenant)
        await self._runner.world.runs.deploy(who.tenant, found.name, asked.text)
        return answer({"name": found.name, "model": f"pipeline/{found.name}"})

    async def estimate(self, request: Request) -> Response:
        """What a run would cost."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        source = self._runner.source(who.tenant, asked.wanted())
        if source.startswith(PYTHON):
            raise Invalid("a pipeline in Python decides while it runs; only its cap is known before: see its `cost`")
        found, passing = spec.read(source), Passing()
        given = parameters.filled(found, await artifacts.given(passing, asked.inputs))
        return answer(await estimate.estimate(found, self._runner.world, who.key, given, passing))

    async def start(self, request: Request) -> Response:
        """Start a run; with an Idempotency-Key, once."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        if asked.text:
            await self._models(spec.read(asked.text), who.key, who.tenant)
        self._runner.world.objects.check(who.tenant, max(1, artifacts.file_bytes(asked.inputs)))
        run, wanted = once_of(who.tenant, request.headers.get("idempotency-key")) or new_id(), asked.wanted()
        wanted.inputs = await artifacts.given(self._runner.world.objects.of(who.tenant, run), asked.inputs)
        run = await self._runner.start(who.tenant, who.key, wanted, run=run)
        return answer(views.whole(self._runner.state(run)))

    async def list(self, request: Request) -> Response:
        """The newest runs of the caller's tenant; of all, for administrators."""
        who = self._door.caller(request)
        found = [self._runner.state(run) for run in self._runner.world.runs.recent(100)]
        return answer({"object": "list", "data": [views.summary(run) for run in found if _may(who, run)]})

    async def show(self, request: Request) -> Response:
        """All of a run; with `wait_s`, at its end, or as it is by then."""
        found = self._found(request)
        if (wait_s := _wait_s(request.query_params.get("wait_s", "0"))) and found.phase == "running":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._runner.ended(found.started.run), wait_s)
            found = self._found(request)
        return answer(views.whole(found))

    async def events(self, request: Request) -> Response:
        """Its events as they come, until its end."""
        found = self._found(request)

        async def lines() -> AsyncIterator[bytes]:
            async for event in self._runner.watch(found.started.run):
                shown = await self._shown(event, self._objects(found))
                yield b"data: " + msgspec.json.encode(shown) + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def _shown(self, event: AnyEvent, objects: Objects) -> AnyEvent:
        """An event as it is told: results whole, the models' own answers left out, since a step's result has them."""
        if isinstance(event, StepEnded):
            return msgspec.structs.replace(event, result=await artifacts.whole(objects, event.result))
        return msgspec.structs.replace(event, body=None) if isinstance(event, Answered) else event

    async def cancel(self, request: Request) -> Response:
        """End it."""
        run = self._found(request).started.run
        await self._runner.cancel(run)
        return answer(views.whole(self._runner.state(run)))

    async def delete(self, request: Request) -> Response:
        """Take away all of one that has ended; its requests stay in the books."""
        run = self._found(request).started.run
        await self._runner.forget(run)
        await self._runner.world.objects.sweep()
        return answer({"id": run, "object": "headrace.run", "deleted": True})

    async def retry(self, request: Request) -> Response:
        """Begin it again."""
        run, again = self._found(request).started.run, await bodies.read(request, Again)
        await self._runner.retry(run, step=again.step, cost=again.cost, time_us=_span(again.time))
        return answer(views.whole(self._runner.state(run)))

    async def artifacts(self, request: Request) -> Response:
        """The pictures and sounds of a run, by the step that made them."""
        found = await self._artifacts(self._found(request))
        data = [{"name": name, "type": one["type"], "bytes": one["bytes"], "digest": one["artifact"]}
                for name, one in found.items()]  # fmt: skip
        return answer({"object": "list", "data": data})

    async def artifact(self, request: Request) -> Response:
        """The bytes of one."""
        run, name = self._found(request), request.path_params["name"]
        found = await self._artifacts(run)
        if name not in found:
            known = ", ".join(found) or "none"
            raise Invalid(
                f"{run.started.run} has no artifact {name[:80]!r}; it has: {known}", code="not_found", status=404
            )
        return Response(await artifacts.load(self._objects(run), found[name]), media_type=found[name]["type"])

    def _objects(self, run: Run) -> Objects:
        return self._runner.world.objects.of(run.started.tenant, run.started.run)

    async def _artifacts(self, run: Run) -> dict[str, dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {}
        for step, key in run.steps:
            result = await artifacts.whole(self._objects(run), run.results[key])
            made |= artifacts.named(step, list(artifacts.mentions(result)))
        return made

    async def _models(self, found: spec.Pipeline, key: str, tenant: str) -> None:
        models = self._runner.world.models
        assert isinstance(models, Gateway), "served with the gateway"
        known = await models.models(key)
        for step, one in found.steps.items():
            for name in one.models:
                if "{{" not in name and name not in known:
                    raise Invalid(
                        f"step {step}: there is no model {name!r}{closest(name, known)}; see: headrace models",
                        code="model_not_found",
                        status=404,
                    )
            for tool in one.tools.values():
                if tool.pipeline is not None and tool.pipeline != found.name:
                    self._runner.source(tenant, Wanted(pipeline=tool.pipeline))

    def _found(self, request: Request) -> Run:
        who, run = self._door.caller(request), self._runner.state(request.path_params["run"])
        if not _may(who, run):
            raise Invalid(f"there is no run {run.started.run!r}", code="not_found", status=404)
        return run


def _may(who: Caller, run: Run) -> bool:
    return who.role == "admin" or run.started.tenant == who.tenant


def _wait_s(text: str) -> int:
    if not (text.isdigit() and len(text) <= 3 and int(text) <= WAIT_MAX_S):
        raise Invalid(f"wait_s is {text[:20]!r}; give a whole number from 0 to {WAIT_MAX_S}", param="wait_s")
    return int(text)


def _span(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return duration_us(text)
    except ValueError as error:
        raise Invalid(str(error), param="time") from None
