"""Rates: told once enough was seen, the same until half as much again was."""

from headrace.control.rates import Rates
from headrace.economics import work
from headrace.economics.work import Samples
from headrace.policy.performance import Measured, Performance
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, Objective, PoolSpec
from tests.policy.cloud import GIB, spec

POOL = PoolSpec(name="a", accelerator="cpu", count=1, memory_bytes=GIB)
CATALOG = Catalog(pools=(POOL,), models=(), tenants=())
MODEL = spec(engine=EngineSpec(kind="llama_cpp", slots=8), objective=Objective(tpot_us=60_000))


class Learned:
    """Books that have learned a replica's steps: 10 ms, and 6 ms for each in it."""

    def __init__(self) -> None:
        self.samples = Samples()

    def see(self, count: int, step_ms: int = 6) -> None:
        for number in range(count):
            present = 1 + number % 8
            self.samples = work.learn(
                self.samples, present=present, decode_us=(10 + step_ms * present) * 9_000, decode_tokens=9,
                prompt=work.Prompt(us=50_000, tokens=100),
            )  # fmt: skip

    def speed(self, model: ModelSpec, pool: PoolSpec) -> Performance | None:
        learned = work.fitted(self.samples)
        return Measured(learned, model.engine.slots * 2048) if learned.residual_ppm >= 0 else None


def test_nothing_is_told_before_enough_was_seen():
    books = Learned()
    books.see(20)
    assert Rates(books.speed).of(MODEL, CATALOG) is None


def test_the_rate_is_that_of_the_largest_batch_that_keeps_the_promise():
    """Prompts take their own time, an output token its part of a step; the promise bounds the batch."""
    books = Learned()
    books.see(64)
    rate = Rates(books.speed).of(MODEL, CATALOG)
    assert rate is not None
    assert rate.input_ns == 500_000
    assert 6_000_000 < rate.output_ns < 16_000_000


def test_it_is_told_anew_when_much_more_was_seen():
    books = Learned()
    books.see(64)
    rates = Rates(books.speed)
    first = rates.of(MODEL, CATALOG)
    books.see(10, step_ms=60)
    assert rates.of(MODEL, CATALOG) is first
    books.see(400, step_ms=60)
    assert rates.of(MODEL, CATALOG) != first


def test_other_tasks_have_none():
    books = Learned()
    books.see(64)
    assert Rates(books.speed).of(spec(task="embed"), CATALOG) is None
