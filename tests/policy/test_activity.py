"""The idle clock: only true idleness counts."""

from headrace.policy.activity import Activity
from tests.control.sim import S, catalog, held, model

WANTED = catalog(model())


def last_us(activity: Activity, now_us: int, *seen) -> int:
    return activity.demand(WANTED, {d.key: d for d in seen}, now_us)["m@v1"].last_us


def test_silence_is_not_idleness():
    """A controller that has just begun knows no last use, so the clock begins with it."""
    assert last_us(Activity(), 5 * S) == 5 * S


def test_what_a_gateway_forgot_is_remembered():
    """Its last use is kept when the gateway that saw it is gone, or begins anew."""
    activity = Activity()
    last_us(activity, 1 * S)
    assert last_us(activity, 9 * S, held(queued=0, last_us=8 * S)) == 8 * S
    assert last_us(activity, 20 * S) == 8 * S
    assert last_us(activity, 21 * S, held(queued=0, last_us=0)) == 8 * S


def test_work_is_use():
    """As long as something is at work or held, the last use is now."""
    activity = Activity()
    assert last_us(activity, 3 * S, held(queued=0, in_flight=1)) == 3 * S
    assert last_us(activity, 4 * S, held()) == 4 * S


def test_a_model_that_comes_back_begins_anew():
    """What was taken out of the catalog is forgotten."""
    activity = Activity()
    last_us(activity, 1 * S)
    activity.demand(catalog(), {}, 2 * S)
    assert last_us(activity, 9 * S) == 9 * S
