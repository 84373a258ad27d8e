"""A pipeline called as a model: the last turn is its first input, its output the answer, whole or as a stream.

A stream tells each step as it ends (`reasoning_content`, which clients show as what the model thinks, `headrace` for
programs) and then the answer. Who hangs up leaves a run that goes on.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace.errors import Invalid, Refused, openai_error
from headrace.pipelines.runner import Runner, Wanted, once_of
from headrace.serving.bodies import answer
from headrace.serving.caller import Door
from headrace.state.run import AnyEvent, Run, StepEnded, ToolBegan

PREFIX: Final = "pipeline/"


class AsModel:
    """`POST /v1/chat/completions` for models named `pipeline/NAME`."""

    def __init__(self, runner: Runner, door: Door) -> None:
        self._runner, self._door = runner, door

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/v1/chat/completions", self.chat, methods=["POST"])]

    async def chat(self, request: Request) -> Response:
        """Run it and answer with its output."""
        who, body = self._door.caller(request), msgspec.json.decode(await request.body())
        name = body["model"].removeprefix(PREFIX)
        first = self._runner.first_input(who.tenant, Wanted(pipeline=name))
        wanted = Wanted(pipeline=name, inputs={first: _text(body["messages"][-1].get("content"))})
        once = once_of(who.tenant, request.headers.get("idempotency-key"))
        run = await self._runner.start(who.tenant, who.key, wanted, run=once)
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            headers = {"x-headrace-run": run}
            return StreamingResponse(self._events(run, body["model"], usage), 200, headers, "text/event-stream")
        return _completion(await self._runner.ended(run), body["model"])

    async def _events(self, run: str, model: str, usage: bool) -> AsyncIterator[bytes]:
        created = self._runner.state(run).started.at_us // 1_000_000
        head = {"id": run, "object": "chat.completion.chunk", "created": created, "model": model}

        def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event({**head, "choices": [choice], **more})

        yield chunk({"role": "assistant", "content": ""})
        async for event in self._runner.watch(run):
            if (told := _progress(event)) is not None:
                yield chunk({"reasoning_content": told[0]}, headrace=told[1])
        state = self._runner.state(run)
        if state.ended is None or state.ended.phase != "finished":
            yield _event(openai_error(_failure(state), kind="server_error", code="run_failed"))
            return
        yield chunk({"content": _output(state)})
        yield chunk({}, "stop")
        if usage:
            yield _event({**head, "choices": [], "usage": _usage(state)})
        yield b"data: [DONE]\n\n"


def _progress(event: AnyEvent) -> tuple[str, dict[str, str]] | None:
    """What is told of an event, for people and for programs."""
    match event:
        case StepEnded():
            return f"{event.step} done\n", {"event": "step_ended", "step": event.step}
        case ToolBegan():
            return f"{event.step} begins\n", {"event": "tool_began", "step": event.step}
        case _:
            return None


def _completion(run: Run, model: str) -> Response:
    if run.ended is None or run.ended.phase != "finished":
        raise Refused(_failure(run), status=503, code="run_failed")
    choice = {"index": 0, "message": {"role": "assistant", "content": _output(run)}, "finish_reason": "stop"}
    made = {"id": run.started.run, "object": "chat.completion", "created": run.ended.at_us // 1_000_000, "model": model,
            "choices": [choice], "usage": _usage(run)}  # fmt: skip
    said = answer(made)
    said.headers["x-headrace-cost"] = _dollars(run.spent_nanousd)
    said.headers["x-headrace-cost-unit"] = "USD"
    said.headers["x-headrace-run"] = run.started.run
    return said


def _failure(run: Run) -> str:
    reason = f"{run.ended.error}; {run.ended.fix}" if run.ended else "the runner is stopping; it goes on after that"
    return f"{run.started.run} {run.phase}: {reason}"


def _output(run: Run) -> str:
    assert run.ended is not None
    output = run.ended.output
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def _usage(run: Run) -> dict[str, Any]:
    """Its tokens were billed to its steps, under the models that used them: here stands what they came to."""
    shown = {"cost": _dollars(run.spent_nanousd), "unit": "USD", "run": run.started.run}
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "headrace": shown}


def _text(content: Any) -> str:
    """The words of a turn. Raises Invalid for anything else in it."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Invalid("a pipeline that is called as a model takes text; start a run to give it files", param="messages")
    return content


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _dollars(nanousd: int) -> str:
    return f"{nanousd // 10**9}.{nanousd % 10**9:09}"
