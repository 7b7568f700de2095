"""Which denoiser and which noise can be written down, so that Rust and Python run on the same? For golden_solvers.py."""

import math

import torch

SHAPE = (2, 4, 3, 3)
BEND = 0.1


def ramp(function):
    return torch.tensor([function(i) for i in range(72)], dtype=torch.float64).reshape(SHAPE)


def denoise(x, sigma):
    """The exact denoiser of data ~ N(cos(0.37 i), 0.25), and a bend that no multistep method follows exactly."""
    variance = 0.25 + sigma**2
    mean = ramp(lambda i: math.cos(0.37 * i))
    return 0.25 / variance * x + sigma**2 / variance * mean + BEND * torch.sin(3 * x / (1 + sigma**2) ** 0.5)


def fresh_noise():
    count = iter(range(1000))
    return lambda *_, **__: (lambda k: ramp(lambda i: math.sin(1 + 7.13 * k + 0.61 * i)))(next(count))
