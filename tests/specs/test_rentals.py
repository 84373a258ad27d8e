"""What accelerators rent for: every row is of a device that is known, and spot is cheaper than on demand."""

from headrace.specs import accelerators, rentals


def test_every_offer_is_of_a_known_device():
    assert {row.accelerator for row in rentals.TABLE} <= set(accelerators.TABLE)
    assert all(10**8 < row.nanousd_per_hour < 10**10 for row in rentals.TABLE)
    assert all(row.seen[:2] == "20" and row.source for row in rentals.TABLE)


def test_spot_is_a_part_of_on_demand():
    shares = {name: share for name in accelerators.TABLE if (share := rentals.spot_ppm(name)) is not None}
    assert {"nvidia-h100", "nvidia-h200"} <= set(shares)
    assert all(250_000 < share < 600_000 for share in shares.values())


def test_what_was_not_seen_is_not_told():
    assert rentals.typical_nanousd("nvidia-gb200", "on_demand") is None
    assert rentals.spot_ppm("nvidia-t4") is None
