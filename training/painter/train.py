"""Teach the painter: `python train.py --steps N --out FOLDER`. Goes on from FOLDER/last.pt when that is there.

Rectified flow: x_t = (1-t) picture + t noise; the network says the picture, the loss is that of the velocity. What is
drawn at step k depends on (seed, k) alone, so that a run that was stopped and resumed is the same run.
"""

import argparse
import copy
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from model import Painter, Sizes, compose
from PIL import Image
from scenes import caption, draw, scene
from torch import Tensor
from torch.nn import functional
from words import TOKENS, encode, vocabulary

T_LEAST = 0.06  # keeps the weight of nearly clean pictures finite
UNSAID = 0.1  # pictures shown without words, for classifier-free guidance
PROMPTS = (
    "a red circle", "large blue star on a white background", "red circle left of a green square", "a small pink heart",
    "yellow moon on black background", "green tree at the right", "a white cloud on a blue background", "purple ring",
    "a brown house and a green tree", "black cross top left", "orange diamond above a cyan triangle", "grey square",
)  # fmt: skip


class Lesson(NamedTuple):
    """What one step sees. `covers` are the layers of each picture, as far as the drawing knows them."""

    pictures: Tensor
    covers: Tensor
    words: Tensor
    times: Tensor
    noise: Tensor


def lesson(seed: int, step: int, size: int, known: dict[str, int]) -> Lesson:
    """The scenes of one step."""
    rng = np.random.default_rng([seed, step])
    scenes = [scene(rng) for _ in range(size)]
    drawn, covers = zip(*(draw(one, rng) for one in scenes), strict=True)
    pictures = np.stack(drawn).transpose(0, 3, 1, 2)
    said = [encode("" if rng.random() < UNSAID else caption(one, rng), known) for one in scenes]
    times = 1 / (1 + np.exp(-rng.normal(0.5, 1.2, size)))
    noise = rng.standard_normal(pictures.shape, dtype=np.float32)
    return Lesson(
        torch.from_numpy(pictures.astype(np.float32) / 127.5 - 1),
        torch.from_numpy(np.stack(covers)),
        torch.tensor(said),
        torch.from_numpy(times.astype(np.float32)),
        torch.from_numpy(noise),
    )


def optimisers_of(model: Painter) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, which halves the steps that are needed, AdamW for all else."""
    inner = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
    known = set(map(id, inner))
    outer = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        torch.optim.Muon(inner, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: up over 50 steps, flat, down to nothing over the last 40 %."""
    return peak * min(1, (step + 1) / 50, (steps - step) / (0.4 * steps))


@torch.inference_mode()
def sample(model: Painter, words: Tensor, seed: int, steps: int = 10, guidance: float = 2.0) -> Tensor:
    """Pictures for word ids, by Euler steps."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(len(words), 3, 64, 64, generator=chance)
    times = torch.linspace(1, 0, steps + 1)
    for now, following in pairwise(times):
        both = model(torch.cat([x, x]), now.expand(2 * len(x)), torch.cat([words, torch.zeros_like(words)]))
        said, unsaid = both.float().chunk(2)
        clean = unsaid + guidance * (said - unsaid)
        x = x + (following - now) * (x - clean) / now
    return x.clamp(-1, 1)


def sheet(model: Painter, file: Path, known: dict[str, int]) -> None:
    """Draw PROMPTS twice each into one PNG."""
    words = torch.tensor([encode(prompt, known) for prompt in PROMPTS for _ in range(2)])
    pictures = ((sample(model, words, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(pictures[start : start + 8]), 1) for start in range(0, len(pictures), 8)]
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(file)


def train(out: Path, steps: int, batch: int, peak: float, seed: int) -> None:
    """Run to `steps`, keeping out/last.pt and out/sheet-N.png."""
    torch.manual_seed(seed)
    known = vocabulary()
    model = Painter(Sizes(tokens=len(TOKENS)))
    smooth = copy.deepcopy(model)
    optimisers = optimisers_of(model)
    first = 0
    out.mkdir(parents=True, exist_ok=True)
    if (out / "last.pt").exists():
        kept = torch.load(out / "last.pt", weights_only=True)
        model.load_state_dict(kept["model"])
        smooth.load_state_dict(kept["smooth"])
        for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = kept["step"]
    began, seen = time.monotonic(), []
    for step in range(first, steps):
        shown = lesson(seed, step, batch, known)
        t = shown.times[:, None, None, None]
        colours, covers = model.layers((1 - t) * shown.pictures + t * shown.noise, shown.times, shown.words)
        error = (compose(colours, covers) - shown.pictures).square().mean((1, 2, 3))
        flow = (error / shown.times.clamp(min=T_LEAST).square()).mean()
        loss = flow + functional.binary_cross_entropy_with_logits(covers, shown.covers)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate(step, steps, peak)
            optimiser.step()
        with torch.no_grad():
            keep = min(0.998, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(smooth.parameters()), list(model.parameters()), 1 - keep)
        seen.append((loss.item(), flow.item(), error.mean().item()))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            total, flows, plain = np.mean(seen, 0)
            pace = (time.monotonic() - began) / (step + 1 - first)
            print(
                f"step {step + 1} loss {total:.4f} flow {flows:.4f} picture {plain:.5f} {pace:.2f} s a step", flush=True
            )
            seen = []
        if (step + 1) % 250 == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "smooth": smooth.state_dict()}
            state["optimisers"] = [optimiser.state_dict() for optimiser in optimisers]
            told = {
                "step": step + 1,
                "steps": steps,
                "batch": batch,
                "rate": peak,
                "seed": seed,
                "sizes": model.sizes.plain(),
            }
            torch.save(state | told, out / "new.pt")
            (out / "new.pt").replace(out / "last.pt")
            sheet(smooth, out / f"sheet-{step + 1}.png", known)


def main() -> None:
    """Read the command line and train."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--steps", type=int, default=6000)
    words.add_argument("--batch", type=int, default=32)
    words.add_argument("--rate", type=float, default=2e-3)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--threads", type=int, default=1)
    given = words.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_float32_matmul_precision("medium")  # products in bf16 where the CPU has them
    train(given.out, given.steps, given.batch, given.rate, given.seed)


if __name__ == "__main__":
    main()
