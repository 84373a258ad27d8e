"""Quotes: expected within the worst case, by the price that would be pinned, and on what the count rests."""

import asyncio
from dataclasses import dataclass, field

from headrace.gateway.bill import dollars
from headrace.gateway.directory import Directory
from headrace.gateway.quotes import quote
from headrace.gateway.sizes import Sizes
from tests.gateway.test_bill import billed, read
from tests.gateway.world import UNITS, model


@dataclass
class Desk:
    """A worker without replicas."""

    directory: Directory = field(default_factory=Directory)
    sizes: Sizes = field(default_factory=Sizes)


def test_a_quote_is_what_it_would_cost_and_charges_nobody():
    """No replica is ready, nothing was learned: the estimate, and it says so."""
    bill = billed(UNITS)
    said = asyncio.run(quote(Desk(), bill, read(), model()))
    assert (said["price"], said["basis"]) == ("p1", "estimate")
    assert 0 < float(str(said["expected"])) <= float(str(said["worst_case"]))
    assert said["worst_case"] == dollars(bill.bound)
