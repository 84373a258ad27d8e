"""The painter's three networks.

`Flow` makes a scene's numbers (latents.py) of noise and words; `Outline` is a shape as a function of the place, so that
pictures have no native size; `Reader` sees a scene's numbers in a picture, for pictures that begin with a picture.
"""

from itertools import pairwise

import torch
from latents import COLUMNS, KINDS, ROWS
from torch import Tensor, nn
from torch.nn import functional
from words import LENGTH, TOKENS


class Block(nn.Module):
    """Transformer block, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        deep = width // self.heads
        q, k, v = self.qkv(self.first(x)).view(batch, length, 3, self.heads, deep).permute(2, 0, 3, 1, 4)
        # Plain products: for so few tokens they are several times as fast on a CPU as the fused kernel.
        weights = torch.softmax(q @ k.transpose(-1, -2) * deep**-0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.relu(self.up(self.second(x))))


class Flow(nn.Module):
    """Foresees the scene of a mixture (1-t) scene + t noise. Words and rows are one sequence of a transformer."""

    def __init__(self, width: int = 96, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(len(TOKENS) + 1, width)
        self.places = nn.Parameter(torch.randn(LENGTH + ROWS, width) * 0.3)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.read = nn.Linear(COLUMNS, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.write = nn.Linear(width, COLUMNS)
        for block in self.blocks:
            for layer in (block.out, block.down):
                nn.init.normal_(layer.weight, std=0.02 / depth**0.5)

    def forward(self, scene: Tensor, time: Tensor, words: Tensor) -> Tensor:
        x = torch.cat([self.words(words), self.read(scene)], 1) + self.places
        x = x + self.time(_waves(time))[:, None]
        for block in self.blocks:
            x = block(x)
        return self.write(self.last(x[:, LENGTH:]))


class Outline(nn.Module):
    """Signed distance [points] at places [points, 2] of shapes, one of KINDS each or one for all."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4 + len(KINDS), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, places: Tensor, shapes: Tensor) -> Tensor:
        square = places.square().sum(1, keepdim=True)
        known = shapes.expand(len(places), -1)
        return self.layers(torch.cat([places, square, square.sqrt(), known], 1)).squeeze(1)


class Reader(nn.Module):
    """A scene's numbers, things from left and top on, of pictures [batch, 3, 64, 64] in [-1, 1]; shapes as logits."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (48, 64, 96, 128)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(wide, wider, 3, stride=1 if step == 0 else 2, padding=1)
            for step, (wide, wider) in enumerate(pairwise(sizes))
        )
        self.inner = nn.Linear(sizes[-1] * 16, 256)
        self.write = nn.Linear(256, ROWS * COLUMNS)

    def forward(self, pictures: Tensor) -> Tensor:
        x = functional.pixel_unshuffle(pictures, 4)
        for convolution in self.convolutions:
            x = functional.relu(convolution(x))
        return self.write(functional.relu(self.inner(x.flatten(1)))).view(-1, ROWS, COLUMNS)


def _waves(time: Tensor) -> Tensor:
    """Time in [0, 1] as 32 sines and cosines."""
    angles = time[:, None] * torch.exp(torch.linspace(0, 5, 16, device=time.device))
    return torch.cat([angles.sin(), angles.cos()], 1)
