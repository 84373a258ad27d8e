"""The command line of a runner, as `engines.command_line` writes it."""

import argparse
from collections.abc import Sequence


def told(*texts: str, numbers: Sequence[str] = (), optional: Sequence[str] = ()) -> argparse.Namespace:
    """What every runner is told (`listen`, `alias`, `slots`, `threads`), and what this one is told beside.

    An optional word that was not said is the empty text.
    """
    words = argparse.ArgumentParser()
    for name in ("listen", "alias", *texts):
        words.add_argument(f"--{name}", required=True)
    for name in ("slots", "threads", *numbers):
        words.add_argument(f"--{name}", type=int, required=True)
    for name in optional:
        words.add_argument(f"--{name}", default="")
    return words.parse_args()
