"""All runs of this cloud: started, gone on with, cancelled, begun again; each is a task around its journal."""

import asyncio
import hashlib
import importlib.util
import inspect
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid
from headrace.pipelines import artifacts, author, execute, graph, parameters
from headrace.pipelines.children import Family
from headrace.pipelines.context import LATER_US, SETTLING_US, Context, StepFailed, World
from headrace.specs import pipeline as spec
from headrace.state.run import AnyEvent, Ended, Retried, Run, Started, fold
from headrace.units import nanousd

PYTHON: Final = "python:"
RECENT: Final = 100
_EVENT: Final = msgspec.json.Decoder(AnyEvent)


class Wanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A run that is asked for: a deployed pipeline's name, or a text. Bounds replace those of the pipeline."""

    pipeline: str = ""
    text: str = ""
    inputs: dict[str, Any] = {}
    cost: str | None = None
    time_us: int | None = None


class Runner:
    """Runs by id. `code` is the folder of pipelines in Python, which only this machine's operator writes."""

    def __init__(self, world: World, code: Path) -> None:
        self.world, self._code = world, code
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, set[asyncio.Queue[AnyEvent]]] = {}
        self._cancelled: set[str] = set()
        self._contexts: dict[str, Context] = {}
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._again = asyncio.Lock()  # held by who begins an ended run again, or takes it away
        self.leaving = False

    async def start(self, tenant: str, key: str, wanted: Wanted, *, run: str = "", depth: int = 0) -> str:
        """Durable when this returns; the run's id. Raises Invalid.

        A run that is there already is not begun again; one that was begun with something else is refused.
        """
        source = self.source(tenant, wanted)
        name, cap, time_us, width, inputs = self._bounds(source, wanted)
        run = run or new_id()
        if not self.world.runs.events(run):
            self.world.objects.check(tenant)
        await self.world.objects.of(tenant, run).hold(artifacts.holdings(inputs))
        now_us = self.world.clock.now_us()
        started = Started(at_us=now_us, run=run, tenant=tenant, key=key, pipeline=name, version=self._version(source),
                          source=source, inputs=inputs, cap_nanousd=cap, deadline_us=now_us + time_us,
                          width=width, depth=depth)  # fmt: skip
        if not await self.world.runs.begin(run, msgspec.json.encode(started), tenant):
            self._same(self.state(run), started)
            return run
        self._spawn(run)
        return run

    def _same(self, known: Run, wanted: Started) -> None:
        if (known.started.version, known.started.inputs) != (wanted.version, wanted.inputs):
            message = "This Idempotency-Key was used for another run; use a new one for each run."
            raise Invalid(message, param="Idempotency-Key", code="unprocessable", status=422)

    def cap_nanousd(self, tenant: str, pipeline: str) -> int:
        """See `children.Parent`."""
        source = self.source(tenant, Wanted(pipeline=pipeline))
        return self._python(source).cap_nanousd if source.startswith(PYTHON) else spec.read(source).limits.cost_nanousd

    async def child(self, of: Started, run: str, pipeline: str, inputs: dict[str, Any], cap_nanousd: int) -> None:
        """See `children.Parent`."""
        wanted = Wanted(pipeline=pipeline, inputs=inputs, cost=f"{cap_nanousd // 10**9}.{cap_nanousd % 10**9:09}")
        await self.start(of.tenant, of.key, wanted, run=run, depth=of.depth + 1)

    def resume(self) -> int:
        """Go on with all that has not ended; how many."""
        found = self.world.runs.unfinished()
        for run in found:
            self._spawn(run)
        for run in set(self.world.runs.recent(RECENT)) - set(found):  # which the last runner may have been settling
            self._settle(Context(self.state(run), self.world), run)
        return len(found)

    async def cancel(self, run: str) -> None:
        """End it now; what is at work is cancelled and stays booked. Raises Invalid when it has ended."""
        task = self._tasks.get(run)
        if task is None:
            raise Invalid(f"{run} has ended; see: headrace pipeline show {run}", code="conflict", status=409)
        self._cancelled.add(run)
        task.cancel()
        await asyncio.wait([task])

    async def forget(self, run: str) -> None:
        """All of an ended run; the next sweep takes what it alone had. Raises Invalid for one that is at work."""
        async with self._again:
            await self._leave(run)
            if run in self._tasks or not await self.world.runs.forget(run):
                raise Invalid(f"{run} is at work; cancel it first", code="conflict", status=409)

    async def retry(self, run: str, *, step: str, cost: str | None, time_us: int | None) -> None:
        """Begin an ended run again: what is done is kept, but from `step` on. Raises Invalid."""
        async with self._again:
            await self._leave(run)
            await self._retry(run, step, cost, time_us)

    async def _leave(self, run: str) -> None:
        """Learn no more of what an ended run's calls came to."""
        if (settling := self._settling.get(run)) is not None:
            settling.cancel()
            await asyncio.wait([settling])

    async def _retry(self, run: str, step: str, cost: str | None, time_us: int | None) -> None:
        state = self.state(run)
        if run in self._tasks:
            raise Invalid(f"{run} is at work; cancel it first", code="conflict", status=409)
        if step and not any(name.partition("[")[0].partition("@")[0] == step for name, _ in state.steps):
            raise Invalid(f"{run} has done no step {step!r}; see: headrace pipeline show {run}", param="from")
        cap = _money(cost) if cost is not None else state.cap_nanousd
        span_us = time_us or state.deadline_us - state.started.at_us
        again = Retried(at_us=self.world.clock.now_us(), cap_nanousd=cap, step=step,
                        deadline_us=self.world.clock.now_us() + max(span_us, 1))  # fmt: skip
        await self.world.runs.append(run, [msgspec.json.encode(again)])
        await self.world.runs.mark(run, False)
        self._spawn(run)

    def events(self, run: str) -> list[AnyEvent]:
        """The journal of a run, empty when there is none."""
        return [_EVENT.decode(data) for data in self.world.runs.events(run)]

    def state(self, run: str) -> Run:
        """What is so. Raises Invalid (404)."""
        found = self.events(run)
        if not found:
            raise Invalid(f"there is no run {run[:60]!r}; see: headrace pipeline list", code="not_found", status=404)
        return fold(found)

    async def watch(self, run: str) -> AsyncIterator[AnyEvent]:
        """All events of a run, from the first on, until its end."""
        queue: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self._watchers.setdefault(run, set()).add(queue)
        try:
            for event in self.events(run):
                yield event
            seen = run not in self._tasks
            while not seen:
                event = await queue.get()
                yield event
                seen = isinstance(event, Ended)
        finally:
            self._watchers[run].discard(queue)

    async def ended(self, run: str) -> Run:
        """The state at the end."""
        task = self._tasks.get(run)
        if task is not None:
            await asyncio.wait([task])
        return self.state(run)

    async def stop(self) -> None:
        """Leave every run where it is: its journal has it, and the next runner goes on."""
        self.leaving = True
        tasks = [*self._tasks.values(), *self._settling.values()]
        for context in self._contexts.values():
            context.leaving = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- sources ------------------------------------------------------------------------------------------------

    def source(self, tenant: str, wanted: Wanted) -> str:
        """The text of what is to be run, or the place of a pipeline in Python. Raises Invalid."""
        if wanted.text:
            return wanted.text
        deployed = self.world.runs.deployed(tenant)
        if wanted.pipeline in deployed:
            return deployed[wanted.pipeline]
        if spec.NAME.fullmatch(wanted.pipeline) and (self._code / f"{wanted.pipeline}.py").is_file():
            return PYTHON + wanted.pipeline
        known = sorted({*deployed, *(file.stem for file in self._code.glob("*.py"))})
        raise Invalid(
            f"there is no pipeline {wanted.pipeline[:60]!r}; there are: {', '.join(known) or 'none'}. "
            "Deploy one with: headrace pipeline deploy FILE",
            code="not_found",
            status=404,
        )

    def first_input(self, tenant: str, wanted: Wanted) -> str:
        """The input that a pipeline is given when it is called as a model: the first that it needs. Raises Invalid."""
        source = self.source(tenant, wanted)
        if source.startswith(PYTHON):
            return next(iter(inspect.signature(self._python(source).body).parameters), "prompt")
        inputs = spec.read(source).input
        return next((word for word, value in inputs.items() if value is None), next(iter(inputs), "prompt"))

    def _bounds(self, source: str, wanted: Wanted) -> tuple[str, int, int, int, dict[str, Any]]:
        if source.startswith(PYTHON):
            made = self._python(source)
            name, cap, time_us, width = made.name, made.cap_nanousd, made.time_us, made.width
            given = parameters.bound(name, made.body, wanted.inputs)
        else:
            found = spec.read(source)
            graph.needs(found)
            name, given = found.name, parameters.filled(found, wanted.inputs)
            cap, time_us, width = found.limits.cost_nanousd, found.limits.time_us, found.limits.width
        cap = _money(wanted.cost) if wanted.cost is not None else cap
        return name, cap, wanted.time_us or time_us, width, given

    def _version(self, source: str) -> str:
        text = source.encode()
        if source.startswith(PYTHON):
            text = (self._code / f"{source.removeprefix(PYTHON)}.py").read_bytes()
        return hashlib.sha256(text).hexdigest()[:16]

    def _python(self, source: str) -> author.PipelineFunction:
        name = source.removeprefix(PYTHON)
        found = importlib.util.spec_from_file_location(f"headrace_pipeline_{name}", self._code / f"{name}.py")
        if found is None or found.loader is None:
            raise Invalid(f"the pipeline {name} cannot be loaded; deploy it again")
        module = importlib.util.module_from_spec(found)
        try:
            found.loader.exec_module(module)
        except Exception as error:  # noqa: BLE001 - an operator's code may raise anything; its run is told so
            raise Invalid(f"the pipeline {name} cannot be loaded: {error!r}; correct the file and deploy it") from None
        made = [one for one in vars(module).values() if isinstance(one, author.PipelineFunction)]
        if len(made) != 1:
            raise Invalid(f"the file of {name} has {len(made)} pipelines; give it exactly one `@pipeline`")
        return made[0]

    # --- one run ------------------------------------------------------------------------------------------------

    def _spawn(self, run: str) -> None:
        if run in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._live(run))
        self._tasks[run] = task
        task.add_done_callback(lambda _: (self._tasks.pop(run, None), self._contexts.pop(run, None)))

    async def _live(self, run: str) -> None:
        state = fold(self.events(run))
        world = msgspec.structs.replace(self.world, models=Family(self.world.models, self, state.started))
        context = Context(state, world, lambda event: self._told(run, event))
        self._contexts[run] = context
        try:
            left_us = state.deadline_us - context.now_us
            async with asyncio.timeout(max(left_us, 0) / 1e6):
                output = msgspec.to_builtins(await self._work(context))
            end = {"phase": "finished", "output": output}
        except asyncio.CancelledError:
            if run not in self._cancelled:
                return  # the runner stops; the next one goes on
            self._cancelled.discard(run)
            end = {"phase": "cancelled", "error": "cancelled", "fix": f"headrace pipeline retry {run}"}
        except TimeoutError:
            late = "the deadline of the run has passed"
            end = {"phase": "failed", "error": late, "fix": f"headrace pipeline retry {run} --time LONGER"}
        except StepFailed as error:
            end = {"phase": "failed", "step": error.step, "error": error.reason, "fix": error.fix}
        except HeadraceError as error:
            end = {"phase": "failed", "error": error.message, "fix": f"correct it, then: headrace pipeline retry {run}"}
        except Exception as error:  # noqa: BLE001 - the outermost frame of a run: its mistake is its own
            telemetry.logger().warning("run.failed", run=run, error=repr(error))
            end = {"phase": "failed", "error": f"the pipeline's code failed: {error!r}", "fix": "correct and deploy it"}
        await asyncio.shield(self._end(context, run, end))

    async def _work(self, context: Context) -> Any:
        started = context.run.started
        if not started.source.startswith(PYTHON):
            return await execute.execute(spec.read(started.source), context, started.inputs)
        if self._version(started.source) != started.version:
            raise Invalid(f"the file of {started.pipeline} is another one than this run began with; start a new run")
        return await self._python(started.source).run(context, started.inputs)

    async def _end(self, context: Context, run: str, end: Mapping[str, Any]) -> None:
        await context.orphans()
        await context.reconcile(SETTLING_US)
        await context.tell(Ended(at_us=context.now_us, **end))
        await self.world.runs.mark(run, True, context.now_us)
        self.world.models.release(context.run.started.tenant, run)
        self._settle(context, run)

    def _settle(self, context: Context, run: str) -> None:
        """Go on to learn what an ended run's calls came to."""
        if context.run.unsettled:
            later = asyncio.get_running_loop().create_task(context.reconcile(LATER_US))
            self._settling[run] = later
            later.add_done_callback(lambda _: self._settling.pop(run, None))

    def _told(self, run: str, event: AnyEvent) -> None:
        for queue in self._watchers.get(run, ()):
            queue.put_nowait(event)


def new_id() -> str:
    """A name that no run has."""
    return f"run_{secrets.token_hex(8)}"


def once_of(tenant: str, given: str | None) -> str:
    """The run of an Idempotency-Key, the same whenever it is sent; empty without one."""
    return f"run_{hashlib.sha256(f'{tenant}/{given}'.encode()).hexdigest()[:16]}" if given else ""


def _money(text: str) -> int:
    try:
        found = nanousd(text)
    except ValueError as error:
        raise Invalid(str(error), param="cost") from None
    if found <= 0:
        raise Invalid(f"a cap of {text!r} allows nothing; give dollars above 0", param="cost")
    return found
