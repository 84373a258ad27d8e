"""A key's limits: truthful refusals, truthful headers, and a worker's real answers under them."""

import asyncio
from pathlib import Path

import pytest

from headrace.errors import Refused
from headrace.gateway.limits import Meter
from headrace.gateway.shared import WINDOW_US, Counters
from headrace.specs.catalog import Limits
from headrace.state.request import BATCH
from headrace.state.table import RouteKey
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import HI, post, replica, run, until, world

NOW = 10**12


def key(**limits: int) -> RouteKey:
    return RouteKey(id="k", digest="", tenant="t", role="user", limits=Limits(**limits))


def meters(folder: Path, workers: int = 2) -> list[Meter]:
    return [Meter(Counters(folder / "counters", workers, index)) for index in range(workers)]


def admitted(meter: Meter, who: RouteKey, tokens: int = 1, now_us: int = NOW) -> bool:
    try:
        meter.admit(who, tokens, now_us)
    except Refused:
        return False
    return True


def test_requests_of_a_minute_over_all_workers(tmp_path: Path):
    """Ten a minute are ten, whoever takes them; after Retry-After they are ten again."""
    a, b = meters(tmp_path)
    who = key(requests_per_minute=10)
    assert [admitted((a, b)[n % 2], who) for n in range(14)] == [True] * 10 + [False] * 4
    with pytest.raises(Refused) as refused:
        a.admit(who, 1, NOW)
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    wait_us = refused.value.retry_after_us
    assert wait_us is not None
    assert 0 < wait_us <= WINDOW_US
    assert not admitted(a, who, now_us=NOW + wait_us - 1)
    assert admitted(a, who, now_us=NOW + wait_us)


def test_tokens_are_held_by_the_estimate_and_corrected(tmp_path: Path):
    """What was not used may be used by others in the same minute."""
    (meter,) = meters(tmp_path, 1)
    who = key(tokens_per_minute=100)
    assert admitted(meter, who, 90)
    assert not admitted(meter, who, 20)
    meter.done(who, -80, NOW, NOW)
    assert admitted(meter, who, 20)


def test_a_correction_does_not_pay_for_another_minute(tmp_path: Path):
    """A request that ends in the next minute gives nothing back to it; what it used beyond the estimate counts."""
    (meter,) = meters(tmp_path, 1)
    who = key(tokens_per_minute=100)
    assert admitted(meter, who, 90)
    later = NOW + WINDOW_US
    meter.done(who, -80, NOW, later)
    assert admitted(meter, who, 100, later)
    assert not admitted(meter, who, 1, later)


def test_a_request_that_never_fits_is_told_so(tmp_path: Path):
    """No Retry-After, since waiting does not help."""
    (meter,) = meters(tmp_path, 1)
    with pytest.raises(Refused) as refused:
        meter.admit(key(tokens_per_minute=100), 101, NOW)
    assert refused.value.retry_after_us is None
    assert "100" in refused.value.message


def test_headers_tell_what_is_left(tmp_path: Path):
    """Limit, remaining, and the time to the reset in OpenAI's form."""
    (meter,) = meters(tmp_path, 1)
    lines = dict(
        line.split(": ")
        for line in meter.admit(key(requests_per_minute=3, tokens_per_minute=50), 20, NOW).decode().split("\r\n")[:-1]
    )
    assert lines["x-ratelimit-limit-requests"] == "3"
    assert lines["x-ratelimit-remaining-requests"] == "2"
    assert lines["x-ratelimit-remaining-tokens"] == "30"
    assert lines["x-ratelimit-reset-requests"].endswith("s")
    assert meter.admit(key(), 1, NOW) == b""


def test_batch_work_is_told_how_many_of_the_others_are_at_work(tmp_path: Path):
    """Over all workers; batch work itself is not one of them."""
    one, two = meters(tmp_path)
    one.admit(key(), 1, NOW)
    two.admit(key(), 1, NOW, 1)
    assert one.admit(key(), 1, NOW, BATCH) == b"x-headrace-urgent: 2\r\n"
    one.done(key(), 0, NOW, NOW, BATCH)
    two.done(key(), 0, NOW, NOW, 1)
    assert two.admit(key(), 1, NOW, BATCH) == b"x-headrace-urgent: 1\r\n"


def test_limits_hold_over_http(tmp_path: Path):
    """200 with what is left, then 429 with a whole number of seconds; refused requests reach no engine."""

    async def work() -> None:
        limits = Limits(requests_per_minute=2)
        async with (
            StubUpstream(tmp_path / "up", stub.truthful) as up,
            world(tmp_path, [replica(0, up)], limits=limits) as here,
        ):
            answers = [await here.ask(HI) for _ in range(3)]
            assert [a.status for a in answers] == [200, 200, 429]
            assert [a.headers.get("x-ratelimit-remaining-requests") for a in answers[:2]] == ["1", "0"]
            assert 1 <= int(answers[2].headers["retry-after"]) <= 60
            assert answers[2].json["error"]["code"] == "rate_limit_exceeded"
            assert len(up.asked) == 2

    run(work)


def test_concurrency_holds_over_http_and_is_given_back(tmp_path: Path):
    """As many at once as the key may; when one leaves, the next one may."""

    async def work() -> None:
        limits = Limits(concurrency=1)
        async with (
            StubUpstream(tmp_path / "up", stub.silent) as up,
            world(tmp_path, [replica(0, up)], limits=limits) as here,
        ):
            line = await here.line()
            line.send(post(HI))
            await until(lambda: up.asked)
            got = await here.ask(HI)
            assert (got.status, got.headers["retry-after"]) == (429, "1")
            line.close()
            await until(lambda: not here.worker.exchanges)
            up.behave = stub.truthful
            assert (await asyncio.wait_for(here.ask(HI), 5)).status == 200

    run(work)
