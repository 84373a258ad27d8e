"""What is shown of runs: facts, and the receipt by stage. Pure."""

from typing import Any, Final

import msgspec

from headrace.state.run import Run, stage

SPANS_MAX: Final = 1_000  # of one answer, the newest


def summary(run: Run) -> dict[str, Any]:
    """One line of a list."""
    return {
        "object": "headrace.run",
        "id": run.started.run,
        "pipeline": run.started.pipeline,
        "tenant": run.started.tenant,
        "phase": run.phase,
        "started_us": run.started.at_us,
        "ended_us": run.ended.at_us if run.ended else 0,
        "steps": len(run.steps),
        "cost": cost(run),
    }


def whole(run: Run) -> dict[str, Any]:
    """Everything but the results of its steps."""
    ended = run.ended
    return {
        **summary(run),
        "version": run.started.version,
        "inputs": run.started.inputs,
        "deadline_us": run.deadline_us,
        "width": run.started.width,
        "done": [name for name, _ in run.steps],
        "at_work": sorted(run.open),
        "spans": [msgspec.structs.asdict(span) for span in list(run.spans.values())[-SPANS_MAX:]],
        "chosen": [{"step": one.step, "why": one.why} for one in run.chosen],
        "output": ended.output if ended else None,
        "error": {"step": ended.step, "reason": ended.error, "fix": ended.fix} if ended and ended.error else None,
    }


def cost(run: Run) -> dict[str, Any]:
    """The receipt: what each stage was charged; its lines add up to the sum. Nano-dollars."""
    held: dict[str, int] = {}
    for call in run.open.values():
        held[stage(call.step)] = held.get(stage(call.step), 0) + call.held_nanousd
    return {
        "cap_nanousd": run.cap_nanousd,
        "spent_nanousd": run.spent_nanousd,
        "lost_nanousd": run.lost_nanousd,
        "held_nanousd": run.held_nanousd,
        "left_nanousd": run.left_nanousd,
        "stages": [
            {"stage": name, "calls": one.calls, "spent_nanousd": one.spent_nanousd, "lost_nanousd": one.lost_nanousd,
             "cut_nanousd": one.cut_nanousd, "held_nanousd": held.get(name, 0)}
            for name, one in run.stages.items()
        ],
    }  # fmt: skip
