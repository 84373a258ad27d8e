"""An export of the books as a Parquet file, where pyarrow is installed: it is large, so it comes only when asked for.

Costs, prices and quantities become decimals, never floats, so that sums stay exact; moments become timestamps.
"""

import io
from pathlib import Path
from typing import Any, Final

from headrace.errors import Permanent

FIX: Final = "pip install --require-hashes --no-deps -r requirements/parquet.txt"
PRECISION: Final = 38
SCALE: Final = 12
DECIMALS: Final = (
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost",
    "ListUnitPrice", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice", "PricingQuantity", "x_DeviceCost",
)  # fmt: skip
MOMENTS: Final = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart", "hour")
INTEGERS: Final = ("hour_us", "amount", "charge_nanousd", "unit_charge_nanousd", "cost_nanousd")


def write(text: str, path: Path) -> int:
    """Write CSV text with a header as a Parquet file; how many rows. Raises Permanent when pyarrow is missing."""
    try:
        import pyarrow
        from pyarrow import csv, parquet
    except ImportError:
        raise Permanent(f"Parquet needs pyarrow, which is not installed; install it with: {FIX}") from None
    kinds: dict[str, Any] = dict.fromkeys(DECIMALS, pyarrow.decimal128(PRECISION, SCALE))
    kinds |= dict.fromkeys(MOMENTS, pyarrow.timestamp("us", tz="UTC")) | dict.fromkeys(INTEGERS, pyarrow.int64())
    heads = text.partition("\n")[0].split(",")
    options = csv.ConvertOptions(
        column_types={head: kinds.get(head, pyarrow.string()) for head in heads},
        null_values=[""],
        strings_can_be_null=True,
    )
    table = csv.read_csv(
        io.BytesIO(text.encode()), parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options
    )
    parquet.write_table(table, path, compression="zstd")
    return int(table.num_rows)
