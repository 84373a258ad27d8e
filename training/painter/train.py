"""Teach the painter: `python train.py --out FOLDER`: outlines, then the flow, then the reader; minutes on one core.

Each network goes on from FOLDER/NAME.pt when that is there. What is shown at step k depends on (seed, k) alone, so that
a run that was stopped and resumed is the same run.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import latents
import numpy as np
import torch
from captions import caption
from model import Flow, Outline, Reader
from scenes import draw, scene
from shapes import SHAPES
from torch import Tensor, nn
from torch.nn import functional
from words import encode, vocabulary

T_LEAST = 0.05  # keeps the weight of nearly clean scenes finite
UNSAID = 0.1  # scenes shown without words, for classifier-free guidance
KNOWN = vocabulary()


def flow_loss(model: nn.Module, chance: Random, size: int) -> Tensor:
    """Rectified flow: x_t = (1-t) scene + t noise; the network says the scene, the loss is that of the velocity."""
    scenes = [scene(chance) for _ in range(size)]
    said = [encode("" if chance.random() < UNSAID else caption(one, chance), KNOWN) for one in scenes]
    numbers = np.random.default_rng(chance.getrandbits(64))
    clean = torch.from_numpy(latents.of_all(scenes))
    times = torch.from_numpy((1 / (1 + np.exp(-numbers.normal(0.3, 1.3, size)))).astype(np.float32))
    noise = torch.from_numpy(numbers.standard_normal(clean.shape, dtype=np.float32))
    mixed = torch.lerp(clean, noise, times[:, None, None])
    error = (model(mixed, times, torch.tensor(said)) - clean).square().mean((1, 2))
    return (error / times.clamp(min=T_LEAST).square()).mean()


def outline_loss(model: nn.Module, chance: Random, size: int) -> Tensor:
    """Distances at random places of every shape; those near an edge count most."""
    numbers = np.random.default_rng(chance.getrandbits(64))
    places = numbers.uniform(-1.25, 1.25, (len(SHAPES), size, 2)).astype(np.float32)
    true = np.stack([measure(*at.T) for measure, at in zip(SHAPES.values(), places, strict=True)]).astype(np.float32)
    shapes = torch.eye(len(SHAPES)).repeat_interleave(size, 0)
    said = model(torch.from_numpy(places).flatten(0, 1), shapes)
    wanted = torch.from_numpy(true).flatten()
    return ((said - wanted).abs() * (0.05 + torch.exp(-wanted.abs() / 0.1))).mean()


def reader_loss(model: nn.Module, chance: Random, size: int) -> Tensor:
    """The numbers of drawn scenes, under a little noise."""
    scenes = [scene(chance) for _ in range(size)]
    pictures = np.stack([draw(one) for one in scenes]).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    sorted_scenes = [
        type(one)(tuple(sorted(one.things, key=lambda thing: thing.x + thing.y)), one.background, one.paint, False)
        for one in scenes
    ]
    numbers = np.random.default_rng(chance.getrandbits(64))
    pictures += numbers.standard_normal(pictures.shape, dtype=np.float32) * numbers.uniform(0, 0.1)
    wanted = torch.from_numpy(latents.of_all(sorted_scenes))
    said, kinds = model(torch.from_numpy(pictures)), slice(1, latents.PAINT)
    there = wanted[:, 1:, 0] > 0
    shape = functional.cross_entropy(said[:, 1:, kinds][there], wanted[:, 1:, kinds][there].argmax(1))
    rest = [column for column in range(latents.COLUMNS) if not kinds.start <= column < kinds.stop]
    return 0.2 * shape + functional.smooth_l1_loss(said[:, :, rest], wanted[:, :, rest], beta=0.1)


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: up over 50 steps, flat, down to nothing over the last 40 %."""
    return peak * min(1, (step + 1) / 50, (steps - step) / (0.4 * steps))


def optimisers_of(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of a transformer's blocks, which needs less than half the steps; AdamW for all else."""
    inner = [weight for weight in getattr(model, "blocks", nn.Module()).parameters() if weight.ndim == 2]
    known = set(map(id, inner))
    outer = [weight for weight in model.parameters() if id(weight) not in known]
    muon = [torch.optim.Muon(inner, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")] if inner else []
    return [*muon, torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.01)]


Loss = Callable[[nn.Module, Random, int], Tensor]


def train(name: str, model: nn.Module, loss_of: Loss, plan: argparse.Namespace) -> None:
    """Run to plan.steps, keeping plan.file: the weights and the optimisers; the loss told is the mean of 20 steps."""
    optimisers, first = optimisers_of(model), 0
    if plan.file.exists():
        kept = torch.load(plan.file, weights_only=True)
        model.load_state_dict(kept["model"])
        for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = kept["step"]
    began, seen = time.process_time(), []
    for step in range(first, plan.steps):
        loss = loss_of(model, Random(f"{plan.seed} {name} {step}"), plan.batch)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate(step, plan.steps, plan.rate)
            optimiser.step()
        seen.append(loss.item())
        if (step + 1) % 20 == 0 or step + 1 == plan.steps:
            pace = (time.process_time() - began) / (step + 1 - first)
            told, seen = float(np.mean(seen)), []
            print(f"{name} step {step + 1} loss {told:.5f} {pace:.3f} CPU s a step", flush=True)
            state = {"model": model.state_dict(), "step": step + 1, "batch": plan.batch, "loss": told}
            fresh = plan.file.with_suffix(".new")
            torch.save(state | {"optimisers": [optimiser.state_dict() for optimiser in optimisers]}, fresh)
            fresh.replace(plan.file)


PLANS: dict[str, tuple[type[nn.Module], Loss, int, int, float]] = {
    "outline": (Outline, outline_loss, 3000, 400, 3e-3),
    "flow": (Flow, flow_loss, 1120, 256, 3e-3),
    "reader": (Reader, reader_loss, 2400, 64, 2e-3),
}


def main() -> None:
    """Read the command line and train."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--only", choices=PLANS)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--threads", type=int, default=1)
    given = words.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_float32_matmul_precision("medium")  # products in bf16 where the CPU has them
    given.out.mkdir(parents=True, exist_ok=True)
    for name, (kind, loss_of, steps, batch, peak) in PLANS.items():
        if given.only in (None, name):
            torch.manual_seed(given.seed)
            file = given.out / f"{name}.pt"
            plan = argparse.Namespace(file=file, steps=steps, batch=batch, rate=peak, seed=given.seed)
            train(name, kind(), loss_of, plan)


if __name__ == "__main__":
    main()
