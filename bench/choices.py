"""What the choice of GPU type costs beside each type alone: lengths that drift, and two lengths at once.

python bench/choices.py [--seed 1]

Simulated: an 8B model, first token within 2 s, 50 ms a token, starts of 120 s, L40S at $1.20 and H100 at $2.95 an hour,
two replicas warm. Prompts are of 50 to 200 tokens or of 4,000 to 8,000, answers of 60 to 140. Where lengths drift, all
are short for a third of the time and long for the last third.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from headrace.twin.mixes import mixed
from headrace.twin.trace import Trace

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.twin.kinds import S, cloud, drifting, ran, two_lengths

DRIFTS: Final = ((5, 4), (6, 6), (12, 4), (12, 6))  # requests a second, hours
PAIRS: Final = ((14, 4.5), (24, 4), (10, 10), (28, 9), (40, 4))  # short and long ones a second
PAIR_HOURS: Final = 3


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seed", type=int, default=1)
    seed = words.parse_args().seed
    for rate, hours in DRIFTS:
        print(f"drifting, {rate}/s for {hours} h")
        told(drifting(hours, rate, seed), hours, [("l40s", "h100"), ("h100",), ("l40s",)])
    for short, long in PAIRS:
        print(f"{short} short and {long} long a second")
        trace = two_lengths(short, long, seed, PAIR_HOURS)
        told(trace, PAIR_HOURS, [("h100", "l40s"), ("h100",)])
        least = mixed(cloud("l40s", "h100"), trace, names={}, room=0.1)
        print(f"  the optimum with 10 % room is ${least.nanousd_per_hour / 1e9:.2f} an hour")


def told(trace: Trace, hours: float, placements: list[tuple[str, ...]]) -> None:
    """Each placement in a line."""
    for pools in placements:
        world, found = ran(cloud(*pools), trace)
        (model,) = found.models
        moves = [at // S for at, what, _, _ in world.log if what == "move"]
        cost = found.cost_nanousd / 1e9
        print(
            f"  {' or '.join(pools)}: ${cost:.2f} (${cost / hours:.2f} an hour), first token in time "
            f"{model.ttft.kept_ppm / 1e4:.2f} %, pace kept {model.tpot.kept_ppm / 1e4:.1f} %, moves at {moves} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
