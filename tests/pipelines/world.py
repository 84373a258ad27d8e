"""Ports of a runner without a process: a journal in memory that can end at any event, and a model that is arithmetic."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.errors import Permanent
from headrace.pipelines.context import World
from headrace.pipelines.ports import Charges, Quote, Said
from headrace.pipelines.shelf import Shelf
from headrace.pipelines.web import OpenWeb
from headrace.state.run import Cached

Say = Callable[[dict[str, Any]], dict[str, Any]]  # a request to the choice that answers it


class Crash(BaseException):
    """The process dies here."""


class Journal:
    def __init__(self, events: Sequence[bytes] = (), most: int = 1 << 30) -> None:
        self.kept = {"run_1": list(events)} if events else {}
        self.soon: dict[str, list[bytes]] = {}
        self.done: dict[str, bool] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self.most = most
        self.results: dict[tuple[str, str], Cached] = {}
        self.dead = False
        self.of: dict[str, str] = {}
        self.ended: dict[str, int] = {}
        self.has: dict[str, set[str]] = {}
        self.gone: set[str] = set()

    async def begin(self, run: str, started: bytes, tenant: str = "") -> bool:
        await asyncio.sleep(0)
        if run in self.kept:
            return False
        self.kept[run], self.done[run] = [started], False
        self.of[run] = tenant
        return True

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        await asyncio.sleep(0)
        kept = self.kept.setdefault(run, [])
        whole = [*self.soon.pop(run, ()), *events]
        if len(kept) + len(whole) > self.most:
            self.dead = True
        if self.dead:
            raise Crash
        kept.extend(whole)

    def append_soon(self, run: str, events: Sequence[bytes]) -> "asyncio.Future[None]":
        """With the next append and not before, which is the worst a crash can meet."""
        self.soon.setdefault(run, []).extend(events)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def events(self, run: str) -> list[bytes]:
        return list(self.kept.get(run, ()))

    def unfinished(self) -> list[str]:
        return [run for run, done in self.done.items() if not done]

    def recent(self, limit: int) -> list[str]:
        return list(self.done)[-limit:]

    def cached(self, tenant: str, digest: str) -> Cached | None:
        return self.results.get((tenant, digest))

    async def remember(self, tenant: str, digest: str, result: Cached, age_us: int) -> None:
        self.results[tenant, digest] = result

    async def mark(self, run: str, done: bool, at_us: int = 0) -> None:
        self.done[run], self.ended[run] = done, at_us

    async def forget(self, run: str) -> bool:
        if not self.done.get(run, run not in self.kept):
            return False
        self.gone |= self.has.pop(run, set())
        self.results = {subject: one for subject, one in self.results.items() if one.run != run}
        self.kept.pop(run, None)
        return self.done.pop(run, False)

    def over(self, tenant: str, before_us: int) -> list[str]:
        return [run for run, done in self.done.items() if done and self.of[run] == tenant
                and self.ended[run] < before_us]  # fmt: skip

    def tenants(self) -> list[str]:
        return sorted({self.of[run] for run in self.done})

    async def hold(self, tenant: str, run: str, found: Sequence[tuple[str, int]]) -> None:
        await asyncio.sleep(0)
        self.has.setdefault(run, set()).update(digest for digest, _ in found)

    def held(self, digest: str) -> bool:
        return any(digest in has for has in self.has.values())

    def loose(self) -> list[str]:
        return sorted(self.gone)

    async def let_go(self, digest: str) -> None:
        self.gone.discard(digest)

    def unbegun(self) -> list[str]:
        return [run for run in self.has if run not in self.kept]

    async def deploy(self, tenant: str, name: str, text: str) -> None:
        self.texts[tenant, name] = text

    def deployed(self, tenant: str) -> dict[str, str]:
        return {name: text for (of, name), text in self.texts.items() if of == tenant}


class Model:
    """Answers with its prompt's length, charges 7 of a worst case of 10, and remembers like a gateway does."""

    def __init__(
        self, worst: int = 10, charge: int = 7, slow: frozenset[str] = frozenset(), say: Say | None = None
    ) -> None:
        self.worst, self.fee, self.slow = worst, charge, slow
        self.kept: dict[str, Said] = {}
        self.charged = self.agent_steps = 0
        self.say = say
        self.cut: dict[str, int] = {}
        self.until_us = 0
        self.expected: list[tuple[str, int]] = []
        self.released: list[str] = []
        self.at_work = self.most_at_work = 0

    async def quote(self, key: str, path: str, body: dict[str, Any], *, agent_step: bool = False) -> Quote:
        return Quote(self.fee, self.worst if body.get("max_tokens", 256) > 16 else self.worst // 2)

    async def send(
        self,
        key: str,
        path: str,
        body: dict[str, Any],
        *,
        once: str,
        label: str,
        cap_nanousd: int,
        agent_step: bool = False,
    ) -> Said:
        if once in self.kept:
            return msgspec.structs.replace(self.kept[once], replayed=True)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            text = body["messages"][-1]["content"]
            try:
                await asyncio.sleep(30 if text in self.slow else 0)
            except asyncio.CancelledError:
                self.cut[label.partition("/")[2]] = 3  # as far as it came
                self.charged += 3
                raise
            fee = min(self.fee, cap_nanousd)
            self.charged += fee
            self.agent_steps += agent_step
            choice = self.say(body) if self.say else {"message": {"content": f"{text}:{len(text)}"}}
            body = {"choices": [choice]}
            self.kept[once] = Said(status=200, body=body, charge_nanousd=fee, request=f"req-{once}")
        finally:
            self.at_work -= 1
        return self.kept[once]

    async def charges(self, key: str, run: str, since_us: int) -> Charges:
        return Charges(dict(self.cut), self.until_us)

    async def charge(self, key: str, request: str) -> int | None:
        return self.fee

    def release(self, tenant: str, run: str) -> None:
        self.released.append(run)

    async def expect(self, key: str, model: str, requests: int, *, within_s: int, label: str) -> None:
        self.expected.append((model, requests))


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.kept[digest] = data
        return digest

    async def delete(self, digest: str) -> None:
        self.kept.pop(digest, None)

    async def get(self, digest: str) -> bytes:
        if digest not in self.kept:
            raise Permanent("gone")
        return self.kept[digest]


class Hand:
    at = 1_000_000

    def now_us(self) -> int:
        return self.at


def world(journal: Journal, model: Model) -> World:
    return World(models=model, runs=journal, objects=Shelf(Memory(), journal), clock=Hand(), web=OpenWeb())
