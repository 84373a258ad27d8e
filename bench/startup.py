"""How long the command line takes to start: whole processes, the best and the median of many, in milliseconds.

python bench/startup.py [--runs 20]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "headrace"
COMMANDS = (["--version"], ["--help"], ["config", "schema"], ["check"])


def milliseconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=20)
    runs = options.parse_args().runs
    print("| command | best, ms | median, ms |\n| --- | ---: | ---: |")
    for words in COMMANDS:
        times = [milliseconds(words) for _ in range(runs)]
        print(f"| `headrace {' '.join(words)}` | {min(times):.0f} | {statistics.median(times):.0f} |")


if __name__ == "__main__":
    main()
