"""What an hour of an accelerator costs to rent, as seen: dated facts to compare with, never a price that is charged.

Prices move monthly. A pool's own price is what the books count; these tell what another kind of renting, or another
kind of device, would cost in proportion. Catalogs are those of SkyPilot (version 8) for each provider.
"""

import statistics
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["on_demand", "spot", "serverless"]


@dataclass(frozen=True, slots=True)
class Rental:
    """One offer: nano-dollars an hour of one device; `seen` is a year or a month."""

    accelerator: str
    provider: str
    kind: Kind
    nanousd_per_hour: int
    seen: str
    source: str


_ROWS: Final[tuple[tuple[str, str, Kind, int, str, str], ...]] = (
    ("amd-mi300x", "TensorWave", "on_demand", 1_500_000_000, "2026-05", "a research note of 2026-05-18"),
    ("amd-mi300x", "Vultr", "on_demand", 1_850_000_000, "2026-05", "a research note of 2026-05-18"),
    ("nvidia-a100-80gb", "Lambda", "on_demand", 2_790_000_000, "2026", "skypilot-catalog v8 lambda"),
    ("nvidia-a100-80gb", "Modal", "serverless", 2_498_400_000, "2026-05", "a third party's table of 2026-05-07"),
    ("nvidia-a100-80gb", "RunPod", "on_demand", 1_390_000_000, "2026", "skypilot-catalog v8 runpod"),
    ("nvidia-a100-80gb", "RunPod serverless flex", "serverless", 2_736_000_000, "2026", "RunPod docs"),
    ("nvidia-a100-80gb", "Spheron/Sesterce", "on_demand", 1_636_800_000, "2026", "skypilot-catalog v8 spheron"),
    ("nvidia-a100-80gb", "Verda", "on_demand", 1_290_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-a100-80gb", "Verda", "spot", 451_500_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-a10g", "AWS g5.xlarge", "on_demand", 1_006_000_000, "2026-06", "a web guide of 2026-06-17"),
    ("nvidia-b200", "Nebius", "on_demand", 5_500_000_000, "2026", "skypilot-catalog v8 nebius"),
    ("nvidia-b200", "RunPod serverless flex", "serverless", 8_640_000_000, "2026", "RunPod docs"),
    ("nvidia-b200", "Verda", "on_demand", 4_890_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-b200", "Verda", "spot", 1_712_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-b300", "Verda", "on_demand", 6_990_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-b300", "Verda", "spot", 2_447_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-h100", "Lambda", "on_demand", 4_290_000_000, "2026", "skypilot-catalog v8 lambda"),
    ("nvidia-h100", "Modal", "serverless", 3_949_200_000, "2026-05", "a third party's table of 2026-05-07"),
    ("nvidia-h100", "Nebius", "on_demand", 2_950_000_000, "2026 (c", "skypilot-catalog v8 nebius"),
    ("nvidia-h100", "Nebius", "spot", 1_250_000_000, "2026", "skypilot-catalog v8 nebius"),
    ("nvidia-h100", "Replicate", "serverless", 5_490_000_000, "2026-05", "a third party's table of 2026-05-07"),
    ("nvidia-h100", "RunPod serverless flex", "serverless", 4_176_000_000, "2026", "RunPod docs"),
    ("nvidia-h100", "Verda", "on_demand", 2_290_000_000, "2026 (c", "skypilot-catalog v8 verda"),
    ("nvidia-h100", "Verda", "spot", 801_500_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-h100-pcie", "Lambda", "on_demand", 3_290_000_000, "2026", "skypilot-catalog v8 lambda"),
    ("nvidia-h100-pcie", "Spheron", "on_demand", 2_013_500_000, "2026", "skypilot-catalog v8 spheron"),
    ("nvidia-h200", "Nebius", "on_demand", 3_500_000_000, "2026", "skypilot-catalog v8 nebius"),
    ("nvidia-h200", "Nebius", "spot", 1_450_000_000, "2026", "skypilot-catalog v8 nebius"),
    ("nvidia-h200", "RunPod serverless flex", "serverless", 5_580_000_000, "2026", "RunPod docs"),
    ("nvidia-h200", "Verda", "on_demand", 3_390_000_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-h200", "Verda", "spot", 1_186_500_000, "2026", "skypilot-catalog v8 verda"),
    ("nvidia-l4", "Modal", "serverless", 799_200_000, "2026-05", "a third party's table of 2026-05-07"),
    ("nvidia-l4", "RunPod serverless flex", "serverless", 684_000_000, "2026", "RunPod docs serverless pricing"),
    ("nvidia-l40s", "Modal", "serverless", 1_951_200_000, "2026-05", "a third party's table of 2026-05-07"),
    ("nvidia-l40s", "Nebius", "on_demand", 1_548_400_000, "2026", "skypilot-catalog v8 nebius"),
    ("nvidia-l40s", "RunPod serverless flex", "serverless", 1_908_000_000, "2026", "RunPod docs"),
    ("nvidia-l40s", "Spheron/Sesterce", "on_demand", 1_161_600_000, "2026", "skypilot-catalog v8 spheron"),
    ("nvidia-t4", "Modal", "serverless", 590_400_000, "2026-05", "a third party's table of 2026-05-07"),
)  # fmt: skip
TABLE: Final = tuple(Rental(*row) for row in _ROWS)


def typical_nanousd(accelerator: str, kind: Kind) -> int | None:
    """The median of what providers ask; None where no offer was seen.

    >>> typical_nanousd("nvidia-h200", "on_demand"), typical_nanousd("nvidia-h200", "serverless")
    (3445000000, 5580000000)
    """
    found = [row.nanousd_per_hour for row in TABLE if (row.accelerator, row.kind) == (accelerator, kind)]
    return int(statistics.median(found)) if found else None


def spot_ppm(accelerator: str) -> int | None:
    """What spot costs of on demand at the same provider, the median, in millionths; None where no pair was seen.

    >>> spot_ppm("nvidia-h200")
    382142
    """
    asked = {(row.provider, row.kind): row.nanousd_per_hour for row in TABLE if row.accelerator == accelerator}
    shares = [
        asked[provider, "spot"] * 1_000_000 // price
        for (provider, kind), price in asked.items()
        if kind == "on_demand" and (provider, "spot") in asked
    ]
    return int(statistics.median(shares)) if shares else None
