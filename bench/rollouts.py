"""Which versions the twin promotes: a version as good as the other, over traces, rates and devices; and worse ones.

python bench/rollouts.py [--traces 8] [--minutes 30]

Simulated: a 32B model on H200s, 30 s to boot, requests of 900 tokens in and 110 out at random moments, the other
version deployed after five minutes.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from headrace.twin.deployment import parse
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.world import World

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.twin.clouds import cloud, steady

S: Final = 1_000_000
FLEETS: Final = ((25, 4), (25, 6), (25, 12), (2, 8), (8, 2), (8, 12))  # requests a second, devices
WORSE: Final = ("speed=0.6", "speed=0.8", "speed=0.9", "errors=20%", "errors=100%")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--traces", type=int, default=8)
    words.add_argument("--minutes", type=float, default=30)
    given = words.parse_args()
    for rate, count in FLEETS:
        found = [ran("", rate, count, given.minutes, seed) for seed in range(given.traces)]
        promoted = sum(one.rollouts[0].phase == "promoted" for one in found)
        kept = [one.models[0].ttft.kept_ppm / 1e4 for one in found]
        print(
            f"as good, {rate}/s on {count} devices: {promoted} of {len(found)} promoted, first tokens in time "
            f"{sum(kept) / len(kept):.2f} % in the mean, {min(kept):.2f} % at worst"
        )
    for said in WORSE:
        one = ran(f",{said}", 2 if "errors" in said else 25, 12, given.minutes, 0).rollouts[0]
        asked = next(version.requests for version in one.versions if version.version == "v2")
        print(
            f"{said}: {one.phase} after {(one.ended_us - one.began_us) / S:.0f} s and {asked} requests; {one.verdict}"
        )


def ran(said: str, rate: float, count: int, minutes: float, seed: int) -> Outcome:
    """One trace with one rollout."""
    options = Options(boot_us=30 * S, deployments=(parse(f"big@v2,at=5m{said}"),), warm={"big@v1": min(4, count)})
    world = World(scenario(cloud(count, least=1), steady(rate, minutes * 60, seed), options=options))
    world.run()
    return outcome(world, "headrace")


if __name__ == "__main__":
    main()
