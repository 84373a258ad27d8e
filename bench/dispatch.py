"""What the fast brain takes for a request: arrival, first token and end at 100 replicas, alone and with many held.

python bench/dispatch.py [--replicas 100] [--slots 8] [--tenants 20] [--requests 30000] [--repeats 7] [--cut]

With `--cut` the model lives in two pools, half of the replicas in each, and so do half of the prompts by their length.

CPU time of this process, so that others on the machine count little; still they share its caches.
"""

import argparse
import statistics
import time
from collections import deque

from headrace.policy.actions import Assign
from headrace.policy.dispatch import Dispatch
from headrace.state.request import Request
from headrace.state.table import Ability, RouteCut, RouteModel, RouteReplica, Table
from headrace.state.work import WorkRate

S = 1_000_000
RATE = WorkRate(fixed_ns=1_000, input_ns=10, output_ns=100)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--replicas", type=int, default=100)
    words.add_argument("--slots", type=int, default=8)
    words.add_argument("--tenants", type=int, default=20)
    words.add_argument("--requests", type=int, default=30_000)
    words.add_argument("--repeats", type=int, default=7)
    words.add_argument("--cut", action="store_true", help="divide the model by the length of prompts")
    given = words.parse_args()
    for name, held in (("half of the slots busy", 0), ("all busy, 1,000 held", 1_000)):
        found = [_run(given, held) for _ in range(given.repeats)]
        print(f"{name}: {min(found):.1f} us a request at best, median {statistics.median(found):.1f}")


def _run(given: argparse.Namespace, held: int) -> float:
    """Microseconds of CPU for one arrival, one first token and one end, steadily."""
    brain, running, now_us = _brain(given), deque[str](), 0
    all_slots = given.replicas * given.slots
    for number in range(all_slots // 2 if not held else all_slots + held):
        answer = brain.arrive(_request(number, given.tenants), 0)
        if isinstance(answer, Assign):
            running.append(answer.request)
    new = [_request(number, given.tenants) for number in range(1_000_000, 1_000_000 + given.requests)]
    began_ns = time.process_time_ns()
    for one in new:
        now_us += 100
        answer = brain.arrive(one, now_us)
        if isinstance(answer, Assign):
            running.append(answer.request)
        brain.begun(running[len(running) // 2], now_us)
        running.extend(found.request for found in brain.ended(running.popleft(), now_us) if isinstance(found, Assign))
    return (time.process_time_ns() - began_ns) / given.requests / 1e3


def _brain(given: argparse.Namespace) -> Dispatch:
    cut = RouteCut(upto_tokens=100, pool="b", rate=RATE) if given.cut else None
    model = RouteModel(
        name="m", version="v1", weight=1, task="chat", ability=Ability(), context_tokens=2048,
        output_tokens_default=512, queue_max=100_000, ttft_us=2 * S, start_timeout_us=120 * S, state="ready",
        created_s=0, rate=RATE, cut=cut,
    )  # fmt: skip
    seats = tuple(
        RouteReplica(
            id=f"r{at}", model="m", version="v1", incarnation=f"r{at}-1", address="unix:/x", slots=given.slots,
            phase="ready", upstream_model="m", pool="ab"[at % 2],
        )
        for at in range(given.replicas)
    )  # fmt: skip
    made = Dispatch()
    made.update(Table(revision=1, models=(model,), replicas=seats, keys=()), 0)
    return made


def _request(number: int, tenants: int) -> Request:
    return Request(
        id=str(number), tenant=f"t{number % tenants}", key="k", model="m", task="chat", input_tokens=100 + number % 2,
        output_tokens_max=512, arrived_us=0, deadline_us=1 << 60, prefix_hash=number % 500 + 1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
