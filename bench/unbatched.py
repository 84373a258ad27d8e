"""Runs a runner without batches, to be compared with: `python bench/unbatched.py headrace.engines.runners.onnx ...`.

Each item is computed by itself, in the order of arrival, with nothing waited for and nothing gathered.
"""

import asyncio
import runpy
import sys
from collections.abc import Sequence
from typing import Any

from headrace.engines.runners import batching


class Unbatched(batching.Batcher[Any, Any]):
    """Stands in for the batcher: the same engine, thread and answers."""

    async def run(self, items: Sequence[batching.Item[Any]], name: str = "") -> list[Any]:
        """See `Batcher.run`."""
        del name
        loop, found = asyncio.get_running_loop(), []
        for item in items:
            found += await loop.run_in_executor(self._executor, self._compute, batching.Batch([item]))
        return found


if __name__ == "__main__":
    batching.Batcher = Unbatched  # type: ignore[misc]  # before the runner asks for it
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__")
