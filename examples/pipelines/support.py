"""A support agent with two tools and a cap: `headrace pipeline run support.py question="Where is order 7?"`."""

from typing import Annotated

from msgspec import Meta

from headrace import agent, pipeline, tool

ORDERS = {7: ("shipped", "Norway"), 8: ("packed", "Spain")}
DAYS = {"Norway": 4, "Spain": 2}


@tool(timeout="2s", repeat=True)
async def order_status(order: Annotated[int, Meta(description="the number of the order", ge=1)]) -> str:
    """Where an order is, and to which country it goes."""
    if order not in ORDERS:
        raise LookupError(f"there is no order {order}")
    state, country = ORDERS[order]
    return f"Order {order} is {state}, to {country}."


@tool(timeout="2s", repeat=True)
async def delivery_days(country: str) -> str:
    """How many days a parcel takes to a country."""
    return f"A parcel to {country} takes {DAYS.get(country, 7)} days."


@agent(
    model="smollm2",
    tools=[order_status, delivery_days],
    first=["order_status", "delivery_days"],  # a small model is led; a larger one needs no `first`
    max_steps=3,
    cost="0.002",
    time="1m",
    max_tokens=64,
    temperature=0,
)
async def support(question: str) -> str:
    """You help customers of a shop. Answer in one sentence, from what the functions say."""
    return question


@pipeline(cost="0.01", time="2m")
async def customer(question: str) -> dict:
    """Answer a customer."""
    return {"answer": await support(question)}
