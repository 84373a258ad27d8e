"""What the fast brain takes for a request: arrival and end at 100 replicas, alone and with many held.

python bench/dispatch.py [--replicas 100] [--requests 50000]
"""

import argparse
import time
from collections import deque

from headrace.policy.actions import Assign
from headrace.policy.dispatch import Dispatch
from headrace.state.request import Request
from headrace.state.table import Ability, RouteModel, RouteReplica, Table
from headrace.state.work import WorkRate

SLOTS = 8
TENANTS = 20
S = 1_000_000


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--replicas", type=int, default=100)
    words.add_argument("--requests", type=int, default=50_000)
    given = words.parse_args()
    for name, held in (("half of the slots busy", 0), ("all busy, 1,000 held", 1_000)):
        print(f"{name}: {_run(given.replicas, given.requests, held):.1f} us a request")


def _run(replicas: int, requests: int, held: int) -> float:
    """Microseconds for one arrival and one end, steadily."""
    brain, running, now_us = _brain(replicas), deque[str](), 0
    for number in range(replicas * SLOTS // 2 if not held else replicas * SLOTS + held):
        answer = brain.arrive(_request(number, now_us), now_us)
        if isinstance(answer, Assign):
            running.append(answer.request)
    new = [_request(number, 0) for number in range(1_000_000, 1_000_000 + requests)]
    began = time.perf_counter()
    for one in new:
        now_us += 100
        answer = brain.arrive(one, now_us)
        if isinstance(answer, Assign):
            running.append(answer.request)
        running.extend(found.request for found in brain.ended(running.popleft(), now_us) if isinstance(found, Assign))
    return (time.perf_counter() - began) / requests * 1e6


def _brain(replicas: int) -> Dispatch:
    model = RouteModel(
        name="m", version="v1", weight=1, task="chat", ability=Ability(), context_tokens=2048,
        output_tokens_default=512, queue_max=100_000, ttft_us=2 * S, start_timeout_us=120 * S, state="ready",
        created_s=0, rate=WorkRate(fixed_ns=1_000, input_ns=10, output_ns=100),
    )  # fmt: skip
    seats = tuple(
        RouteReplica(
            id=f"r{at}", model="m", version="v1", incarnation=f"r{at}-1", address="unix:/x", slots=SLOTS, phase="ready",
            upstream_model="m",
        )
        for at in range(replicas)
    )  # fmt: skip
    made = Dispatch()
    made.update(Table(revision=1, models=(model,), replicas=seats, keys=()), 0)
    return made


def _request(number: int, now_us: int) -> Request:
    return Request(
        id=str(number), tenant=f"t{number % TENANTS}", key="k", model="m", task="chat", input_tokens=100,
        output_tokens_max=512, arrived_us=now_us, deadline_us=1 << 60, prefix_hash=number % 500 + 1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
