"""What a fair share over several gateway workers costs: counters alone and shared, in processor time.

python bench/shares.py [--workers 4] [--tenants 100] [--requests 50000]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headrace.gateway.rows import SharedRows
from headrace.policy.fairness import Fairness, Front
from headrace.policy.sharing import SharedFairness


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--workers", type=int, default=4)
    words.add_argument("--tenants", type=int, default=100)
    words.add_argument("--requests", type=int, default=50_000)
    given = words.parse_args()
    names = [f"tenant-{number}" for number in range(given.tenants)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [SharedRows(Path(folder) / "shares", given.workers, index) for index in range(given.workers)]
        shared, *siblings = (SharedFairness("m@v1", each) for each in rows)
        for fair in siblings:
            for name in names:
                fair.came(name)
            fair.tell(Front(0, names[0], 1), 1, 1)
        print(f"alone: {_requests(Fairness(), names, given.requests):.2f} us a request")
        print(f"shared, a tenant's only one here: {_requests(shared, names, given.requests):.2f} us a request")
        for name in names:
            shared.came(name)
        print(f"shared, one of several: {_requests(shared, names, given.requests):.2f} us a request")
        front = Front(0, names[0], 1)
        print(f"is a free slot a sibling's: {_each(lambda: shared.gives_way(front, 1), 10_000):.2f} us")
        print(f"a look, {len(names)} tenants held: {_each(lambda: shared.meet(front, 1, 1), 200):.0f} us each 20 ms")


def _requests(fair: Fairness, names: list[str], count: int) -> float:
    """Microseconds of a request's four events."""
    began = time.process_time()
    for number in range(count):
        name = names[number % len(names)]
        fair.came(name)
        fair.sent(name, 1_000)
        fair.left(name)
        fair.took(name, 1_000, 900)
    return (time.process_time() - began) / count * 1e6


def _each(work: Callable[[], object], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - began) / count * 1e6


if __name__ == "__main__":
    main()
