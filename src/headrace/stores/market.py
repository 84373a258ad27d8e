"""What closed APIs charge: no network, dated by version.

Prices of tokens come from the table that the library genai-prices carries, what it does not tell (images, speech,
video, ranking) from our own.

Run in a process of its own (`headrace.assembly market`), since the library is large and is asked seldom.
"""

import importlib.metadata
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import Usage, calc_price

from headrace.specs import media_prices
from headrace.specs.priced import Unit, picousd_per_unit

_MILLION = 1_000_000
# A thousand tokens, so that no tier for long prompts is met.
_ASKED: dict[Unit, dict[str, int]] = {
    "input_tokens": {"input_tokens": 1_000},
    "output_tokens": {"output_tokens": 1_000},
    "cached_tokens": {"input_tokens": 1_000, "cache_read_tokens": 1_000},
}


def prices(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Unit prices of `PROVIDER/MODEL` names: {"units": pico-dollars by unit, "source": ...}, or {"error": ...}."""
    source = f"genai-prices {importlib.metadata.version('genai-prices')}"
    return {name: _media(name) or {**_one(name), "source": source} for name in names}


def _media(name: str) -> dict[str, Any]:
    found = media_prices.units(name)
    return {"units": found, "source": media_prices.SOURCE} if found else {}


def _one(name: str) -> dict[str, Any]:
    provider, _, model = name.partition("/")
    units: dict[str, int] = {}
    try:
        for unit, asked in _ASKED.items():
            found = calc_price(
                Usage(**asked), model_ref=model, provider_id=provider, genai_request_timestamp=datetime.now(UTC)
            )
            dollars = Decimal(found.total_price) * _MILLION / 1_000
            if dollars:
                units[unit] = picousd_per_unit(dollars, unit)
    except LookupError:
        return {"error": f"no price of {name} is known here; there are PROVIDER/MODEL names like openai/gpt-4o-mini"}
    if units.get("cached_tokens") == units.get("input_tokens"):
        units.pop("cached_tokens", None)  # no price of its own
    return {"units": units} if units else {"error": f"{name} has no price a token"}
