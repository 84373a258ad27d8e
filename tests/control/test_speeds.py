"""Speeds: a model on two kinds of device is learned twice; in company as alone a request's service time is foreseen."""

import random
from pathlib import Path

import pytest

from headrace.control.speeds import Speeds, company, place, pool_place, presence
from headrace.economics.sharing import Member
from headrace.economics.work import SAMPLES_MIN, Company, WorkModel
from headrace.policy.performance import Measured, Scaled
from headrace.specs.catalog import Catalog, EngineSpec, PoolSpec
from headrace.state.fleet import Device, Lease
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore
from tests.policy.cloud import GIB, S, spec

WIDE = PoolSpec(name="wide", accelerator="cpu", count=1, memory_bytes=4 * GIB, cpus=2)
THIN = PoolSpec(name="thin", accelerator="cpu", count=1, memory_bytes=4 * GIB, cpus=1)
MODEL = spec(pools=("wide", "thin"), engine=EngineSpec(kind="llama_cpp", slots=8, threads=2))
CATALOG = Catalog(pools=(WIDE, THIN), models=(MODEL,), tenants=())


def device(pool: PoolSpec) -> Device:
    return Device(node="n", device="cpu", pool=pool.name, memory_bytes=pool.memory_bytes, cpus=pool.cpus)


def lease(pool: PoolSpec) -> Lease:
    return Lease(
        replica=f"r-{pool.name}", incarnation="1", model="m", version="v1", pool=pool.name, node="n", device="cpu",
        memory_bytes=GIB, share_ppm=250_000, started_us=0,
    )  # fmt: skip


class Engine:
    """A replica that works prompts off one after the other, and steps for all who write between them; microseconds."""

    def __init__(self, truth: WorkModel, seed: int = 1, noise: float = 0.0) -> None:
        self.truth, self.rng, self.noise = truth, random.Random(seed), noise
        self.now_us = 0.0

    def serve(self, count: int, gap_us: float, pool: PoolSpec = WIDE) -> tuple[list[Usage], list[Member]]:
        """So many requests with gaps of that mean; their records and stays."""
        sizes = [(self.rng.choice([20, 60, 200, 700]), self.rng.randrange(8, 96)) for _ in range(count)]
        at_us = self.now_us
        arrivals = [at_us := at_us + self.rng.expovariate(1 / gap_us) for _ in range(count)]
        waiting, live, marks = list(range(count)), dict[int, int](), dict[int, list[float]]()
        while waiting or live:
            if waiting and (arrivals[waiting[0]] <= self.now_us or not live):
                one = waiting.pop(0)
                start_us = max(self.now_us, arrivals[one])
                self.now_us = start_us + self._noisy(self.truth.reads_ns(sizes[one][0]) / 1000)
                marks[one] = [arrivals[one], start_us, self.now_us]
                live[one] = 0
                continue
            context = sum(sizes[one][0] + done for one, done in live.items()) / len(live)
            self.now_us += self._noisy(self.truth.step_ns(len(live), context) / 1000)
            live = {one: done + 1 for one, done in live.items()}
            for one in [one for one, done in live.items() if done >= sizes[one][1]]:
                del live[one]
                marks[one].append(self.now_us)
        rows = [self._row(one, sizes[one], marks[one], pool) for one in range(count)]
        stays = [
            Member(request=row.request, start_us=row.sent_us, first_us=row.arrived_us + row.first_us,
                   end_us=row.left_us, prefill_tokens=row.input_tokens, decode_tokens=row.output_tokens)
            for row in rows
        ]  # fmt: skip
        return rows, stays

    def _noisy(self, time_us: float) -> float:
        return time_us * (1 + self.rng.uniform(-self.noise, self.noise))

    def _row(self, number: int, size: tuple[int, int], marks: list[float], pool: PoolSpec) -> Usage:
        arrived_us, start_us, first_us, end_us = map(round, marks)
        return Usage(
            request=f"q{number}-{arrived_us}", epoch="e", tenant="t", key="k", model="m", version="v1", task="chat",
            outcome="finished", status=200, arrived_us=arrived_us, ended_us=end_us, replica=f"r-{pool.name}",
            incarnation="1", stream=True, sent_us=arrived_us, left_us=end_us, first_us=first_us - arrived_us,
            input_tokens=size[0], output_tokens=size[1], engine_prefill_us=first_us - start_us,
            engine_decode_us=end_us - first_us,
        )  # fmt: skip


TRUTH = WorkModel(
    prompt_ns=10_000_000, prefill_ns=3_000_000, look_ps=1_900_000,
    fixed_ns=6_000_000, decode_ns=4_500_000, context_ps=8_700_000,
)  # fmt: skip


def taught(speeds: Speeds, pool: PoolSpec, engine: Engine, count: int = 300) -> None:
    for gap_us in (20 * S, 1.2 * S):  # alone, then in company
        rows, stays = engine.serve(count // 2, gap_us, pool)
        for place_ in range(0, len(rows), 30):
            speeds.learn(device(pool), [lease(pool)], rows[place_ : place_ + 30], {f"r-{pool.name}/1": stays})


def test_service_times_of_requests_it_has_not_seen_are_within_five_percent(tmp_path: Path) -> None:
    """Alone and in company, with 10 % of noise in each step and prompt."""
    speeds = Speeds(SqliteStore(tmp_path / "s.db"))
    engine = Engine(TRUTH, noise=0.1)
    taught(speeds, WIDE, engine)
    model = speeds.at(MODEL.key, "wide")
    for gap_us in (20 * S, 1.2 * S):
        rows, stays = engine.serve(150, gap_us)
        errors = []
        for row in rows:
            shared = company(row, stays, model)
            foretold_ns = model.reads_ns(row.input_tokens) + shared.held_up_us * 1000
            foretold_ns += row.output_tokens * model.step_ns(shared.writing, shared.context / shared.writing)
            errors.append(abs(foretold_ns / 1000 / (row.engine_prefill_us + row.engine_decode_us) - 1))
        assert sum(errors) / len(errors) < 0.05


def test_two_kinds_of_device_are_learned_apart_and_kept(tmp_path: Path) -> None:
    """The thin one is three times as slow. Another process reads what this one wrote."""
    store = SqliteStore(tmp_path / "s.db")
    speeds = Speeds(store)
    slow = WorkModel(
        **{name: 3 * getattr(TRUTH, name) for name in ("prompt_ns", "prefill_ns", "fixed_ns", "decode_ns")}
    )
    taught(speeds, WIDE, Engine(TRUTH))
    taught(speeds, THIN, Engine(slow))
    again = Speeds(store)
    for pool, truth in ((WIDE, TRUTH), (THIN, slow)):
        found = again.of(MODEL, pool, CATALOG)
        assert isinstance(found, Measured)
        assert found.step_ns(4, 300) == pytest.approx(truth.step_ns(4, 300), rel=0.05)
        assert found.prefill_ns(300) == pytest.approx(truth.reads_ns(300), rel=0.05)


def test_a_cpu_pool_that_served_nothing_is_foretold_from_the_other_by_its_threads(tmp_path: Path) -> None:
    speeds = Speeds(SqliteStore(tmp_path / "s.db"))
    assert speeds.of(MODEL, WIDE, CATALOG) is None
    taught(speeds, WIDE, Engine(TRUTH))
    found = speeds.of(MODEL, THIN, CATALOG)
    assert isinstance(found, Scaled)
    assert found.step_ns(4, 300) == pytest.approx(2 * TRUTH.step_ns(4, 300), rel=0.05)


def test_few_requests_teach_nothing_that_is_believed(tmp_path: Path) -> None:
    speeds = Speeds(SqliteStore(tmp_path / "s.db"))
    rows, stays = Engine(TRUTH).serve(SAMPLES_MIN - 1, 20 * S)
    speeds.learn(device(WIDE), [lease(WIDE)], rows, {"r-wide/1": stays})
    assert speeds.of(MODEL, WIDE, CATALOG) is None
    assert speeds.at(MODEL.key, "wide").samples == SAMPLES_MIN - 1


def test_a_part_of_a_device_is_a_place_of_its_own() -> None:
    """Of a pool that hands out quarters; a pool and its devices call it the same."""
    pool = PoolSpec(name="p", accelerator="nvidia-h100", count=1, memory_bytes=80, grain_bytes=20)
    held = Device(node="n", device="d", pool="p", memory_bytes=80, cpus=0, grain_bytes=20)
    assert [place(held, size) for size in (20, 30)] == ["p:1/4", "p:2/4"]
    assert pool_place(pool, 30) == place(held, 30)


def test_company_is_told_apart_by_what_it_did() -> None:
    """Alone it is 1; half the time with another it is 1.5, of its steps fewer; another's prompt holds it up."""
    row = Usage(
        request="q", epoch="e", tenant="t", key="k", model="m", version="v1", task="chat", outcome="finished",
        status=200, arrived_us=0, ended_us=2 * S, sent_us=0, left_us=2 * S, first_us=S, stream=True,
    )  # fmt: skip
    mine = Member(request="q", start_us=0, first_us=S, end_us=2 * S)
    half = Member(request="o", start_us=0, first_us=0, end_us=S)
    reader = Member(request="p", start_us=S // 2, first_us=3 * S // 2, end_us=3 * S, prefill_tokens=100)
    early = Member(request="e", start_us=0, first_us=S, end_us=3 * S // 2)
    model = WorkModel(fixed_ns=1_000_000, decode_ns=1_000_000)
    assert (presence(row, [mine]), presence(row, [mine, half])) == (1.0, 1.5)
    assert company(row, [mine, half], model) == Company(1.0, 0.0, 0)
    shared = company(row, [mine, reader], model)
    assert (shared.writing, shared.context, shared.held_up_us) == (2.0, pytest.approx(100), S // 2)
    # half a second in two, at 3 ms a step, and half a second alone, at 2 ms
    assert company(row, [mine, early], model).writing == pytest.approx((2 * 500 / 3 + 500 / 2) / (500 / 3 + 500 / 2))
