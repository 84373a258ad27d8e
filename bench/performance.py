"""Fits the table of accelerators to measured step times, and says how far off the model is where it was not fitted.

The points are step times measured for AIConfigurator 0.12 (Apache-2.0; vLLM, five kinds of GPU, 8B to 70B, one to four
devices). For each kind of GPU three figures are fitted (share of compute, share of bandwidth, time of a layer); each
point is then predicted by a fit that has not seen it. What all GPUs have in common (time of an exchange, share of a
link, time of a step, the bend) is not fitted again for each point left out.

python bench/performance.py
"""

import csv
import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from headrace.policy.performance import Roofline
from headrace.specs import accelerators, shapes
from headrace.specs.accelerators import Accelerator

POINTS = Path(__file__).parent / "data" / "step_times.csv"
NAMES = {"h100_sxm": "h100", "h200_sxm": "h200", "a100_sxm": "a100", "l40s": "l40s", "b200_sxm": "b200"}
FITTED = ("compute_ppm", "bandwidth_ppm", "layer_ns")
STIFFNESS = 0.005  # how much a fit holds to where it began
BEGIN = {"compute_ppm": 700_000, "bandwidth_ppm": 820_000, "layer_ns": 10_000}  # the same for all, so nothing leaks


@dataclasses.dataclass(frozen=True)
class Point:
    """One measured step: of a prompt, or of a batch."""

    device: str
    model: str
    devices: int
    prefill: bool
    tokens: int
    batch: int
    measured_ms: float

    def error(self, device: Accelerator) -> float:
        """Predicted over measured, less 1."""
        engine = Roofline(shapes.KNOWN[self.model], device, self.devices)
        ns = engine.prefill_ns(self.tokens) if self.prefill else engine.step_ns(self.batch, self.tokens)
        return ns / 1e6 / self.measured_ms - 1


def read() -> list[Point]:
    with POINTS.open() as file:
        return [
            Point(
                device=row["system"],
                model=row["model"],
                devices=int(row["tp"]),
                prefill=row["phase"] == "prefill",
                tokens=int(row["input_tokens"]) + (0 if row["phase"] == "prefill" else int(row["output_tokens"]) // 2),
                batch=int(row["batch"]),
                measured_ms=float(row["ttft_ms"] or row["tpot_ms"]),
            )
            for row in csv.DictReader(file)
        ]


def loss(device: Accelerator, start: Accelerator, points: Sequence[Point]) -> float:
    if max(device.compute_ppm, device.bandwidth_ppm) > 1_000_000:
        return math.inf
    moved = sum(math.log(getattr(device, name) / getattr(start, name)) ** 2 for name in FITTED)
    return statistics.fmean(abs(math.log1p(point.error(device))) for point in points) + STIFFNESS * moved


def fit(start: Accelerator, points: Sequence[Point]) -> Accelerator:
    """Pattern search: each figure a step up or down, while that helps; then smaller steps."""
    best, best_loss, step = start, loss(start, start, points), 0.1
    while step > 0.002:
        tried = [
            dataclasses.replace(best, **{name: round(getattr(best, name) * factor)})
            for name in FITTED
            for factor in (1 + step, 1 / (1 + step))
        ]
        found_loss, found = min(((loss(device, start, points), device) for device in tried), key=lambda pair: pair[0])
        if found_loss < best_loss:
            best, best_loss = found, found_loss
        else:
            step /= 2
    return best


def main() -> None:
    every: list[float] = []
    print("| device | points | compute | bandwidth | layer, us | error, fitted | error, left out |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for system, name in NAMES.items():
        known = accelerators.named(name)
        assert known is not None, name
        start = dataclasses.replace(known, **BEGIN)
        points = [point for point in read() if point.device == system]
        device = fit(start, points)
        seen = [abs(point.error(device)) for point in points]
        unseen = [
            abs(point.error(fit(start, [*points[:index], *points[index + 1 :]]))) for index, point in enumerate(points)
        ]
        every += unseen
        print(
            f"| {start.name} | {len(points)} | {device.compute_ppm / 1e6:.3f} | {device.bandwidth_ppm / 1e6:.3f} "
            f"| {device.layer_ns / 1e3:.1f} | {statistics.fmean(seen):.1%} | {statistics.fmean(unseen):.1%} |"
        )
    print(f"\nleft out, all {len(every)}: mean {statistics.fmean(every):.1%}, median {statistics.median(every):.1%}")


if __name__ == "__main__":
    main()
