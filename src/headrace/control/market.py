"""What closed APIs charge, asked of a short-lived process and remembered: the library that knows is large."""

import asyncio
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from headrace import telemetry

ASK_S: Final = 30.0


class Market:
    """Unit prices of `PROVIDER/MODEL` names, pico-dollars by unit."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._known: dict[str, dict[str, Any]] = {}
        self._turn = asyncio.Lock()

    async def learn(self, names: Iterable[str]) -> bool:
        """Ask for those not known yet; whether there was anything new."""
        async with self._turn:
            asked = sorted({name for name in names if name and name not in self._known})
            if not asked:
                return False
            try:
                said = await asyncio.to_thread(self._ask, ",".join(asked))
                self._known.update(msgspec.json.decode(said, type=dict[str, dict[str, Any]]))
            except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
                telemetry.logger().error("market.silent", error=repr(error))
                return False
            return True

    def _ask(self, names: str) -> bytes:
        return subprocess.run([*self._argv, names], capture_output=True, timeout=ASK_S, check=False).stdout

    def units(self, name: str) -> dict[str, int] | None:
        """Pico-dollars by unit; None when that is not known."""
        return self._known.get(name, {}).get("units")

    def source(self, name: str) -> str:
        """Where the price comes from, with its date or version."""
        return str(self._known.get(name, {}).get("source", ""))

    def problem(self, name: str) -> str:
        """Why a price is not known; empty when it is."""
        found = self._known.get(name)
        return "it was not asked for yet" if found is None else str(found.get("error", ""))
