"""Other systems' rules: each does what its documentation says, in small."""

from headrace.policy import baselines
from headrace.policy.baselines import Hpa, IdleTimeout, Knative, RayServe, Static
from headrace.specs.catalog import EngineSpec, Scaling
from headrace.state.demand import Demand
from tests.policy.cloud import spec

S = 1_000_000
MODEL = spec(engine=EngineSpec(kind="llama_cpp", slots=8), scaling=Scaling(max_replicas=50))


def asked(rule, loads: list[int], every_s: int = 2, have: int = 1) -> int:
    """What a rule wants after these numbers of requests in flight, one a round, starting what it wants."""
    for number, count in enumerate(loads):
        now = number * every_s * S
        demand = Demand(model="m", version="v1", window_us=every_s * S, in_flight=count)
        rule.note({"m@v1": demand}, now, now)
        have = rule.desired(MODEL, have, (), demand, now).count
        assert rule.desired(MODEL, have, (), demand, now).count == have, "asked again in a round it says the same"
    return have


def test_knative_divides_the_mean_of_a_minute_by_its_target():
    assert asked(Knative(10), [70] * 60) == 10
    assert asked(Knative(), [70] * 60) == 1


def test_knative_panics_and_does_not_go_down_meanwhile():
    """Six seconds at more than twice of what is ready."""
    assert asked(Knative(10), [1] * 30 + [70] * 4) >= 8


def test_hpa_waits_five_minutes_before_it_goes_down():
    rule = Hpa(10)
    assert asked(rule, [50] * 60, every_s=5) == 5
    up_then_down = [50] * 60 + [10] * 30
    assert asked(Hpa(10), up_then_down, every_s=5) == 5
    assert asked(Hpa(10), [50] * 60 + [10] * 120, every_s=5) == 1


def test_hpa_keeps_within_its_tolerance():
    assert asked(Hpa(10), [50] * 20 + [54] * 80, every_s=15) == 5


def test_ray_goes_up_after_half_a_minute_and_down_after_ten():
    assert asked(RayServe(2), [20] * 3, every_s=10) == 1
    assert asked(RayServe(2), [20] * 6, every_s=10) == 10
    assert asked(RayServe(2), [20] * 6 + [2] * 40, every_s=10) == 10
    assert asked(RayServe(2), [20] * 6 + [2] * 70, every_s=10) == 1


def test_an_idle_timeout_keeps_what_was_needed_lately():
    assert asked(IdleTimeout(60 * S), [40] + [1] * 10, every_s=5) == 5
    assert asked(IdleTimeout(60 * S), [40] + [1] * 20, every_s=5) == 1
    assert asked(IdleTimeout(60 * S), [40] + [0] * 20, every_s=5) == 0


def test_static_is_static():
    assert asked(Static(), [0, 100]) == 50
    assert asked(Static(7), [0, 100]) == 7


def test_names():
    assert baselines.named("headrace") is not baselines.named("headrace"), "each run has its own memory"
    assert [baselines.named(text) for text in ("", "hpa", "hpa:0", "idle", "nobody", "headrace:2")] == [None] * 6
