"""Which noise do torch, torchsde and stable-diffusion-webui draw?

`golden.py` calls what `NUMBERS` lists. torch and torchsde are asked themselves; Philox is written out here from
Salmon, Moraes, Dror & Shaw 2011 and checked with Random123's known answers, and what a picture begins with from the
rules of stable-diffusion-webui: variation seed, seed resize, eta noise seed delta.
"""

import random
from importlib import metadata

import numpy as np
import torch

SEEDS = [0, 1, 42, 2**32 - 1, 1234567890123]
SHAPE = [1, 4, 6, 5]


def write(name, content):
    import golden

    golden.write(name, content)


def floats(tensor):
    """9 digits: enough to tell every 32-bit number from the next."""
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def checksum(tensor):
    """The sum of (i + 1) × (the bits of number i), modulo 2^64."""
    bits = tensor.flatten().numpy().view(np.uint32).astype(np.uint64)
    return int((bits * np.arange(1, len(bits) + 1, dtype=np.uint64)).sum(dtype=np.uint64))


# ---------------------------------------------------------------------------------------------- torch.randn


def generator(seed):
    return torch.Generator().manual_seed(seed)


def noise():
    """torch.randn of a CPU generator; from 16 values on torch uses another algorithm than below."""
    torch.set_num_threads(1)
    results = [
        {"seed": seed, "size": size, "values": floats(torch.randn(size, generator=generator(seed)))}
        for seed in SEEDS
        for size in (1, 5, 15, 16, 17, 31)
    ]
    sequences = []
    for seed, shapes in ((7, [[1, 4, 3, 3], [1, 4, 3, 3]]), (7, [[5], [16], [3], [17], [1], [2]])):
        source = generator(seed)
        draws = [{"shape": shape, "values": floats(torch.randn(shape, generator=source))} for shape in shapes]
        sequences.append({"seed": seed, "draws": draws})
    sizes = [16, 17, 31, 1000, 4096, 1_000_003]
    checksums = []
    for seed in [*range(50), *(k * 0x9E3779B97F4A7C15 % 2**64 for k in range(1, 51))]:
        draws = (torch.randn(size, generator=generator(seed)) for size in sizes)
        checksums.append({"seed": seed, "checksums": [checksum(draw) for draw in draws]})
    walks = []
    for seed in (3, 2**40 + 3):
        source, pick = generator(seed), random.Random(seed)
        lengths = [pick.choice([pick.randint(1, 20), pick.randint(1, 3000)]) for _ in range(60)]
        lasts = [floats(torch.randn(length, generator=source)[-1:])[0] for length in lengths]
        walks.append({"seed": seed, "lengths": lengths, "lasts": lasts})
    about = {"capability": torch.backends.cpu.get_cpu_capability(), "checksum": checksum.__doc__}
    bits = {"sizes": sizes, "seeds": checksums}
    write("noise.json", {"about": about, "results": results, "sequences": sequences, "walks": walks, **bits})


# ---------------------------------------------------------------------------------------------- Philox


def philox_words(counter, key):
    """Philox4x32-10 of a counter [4, n] and a key of 64 bits."""
    low = np.uint64(0xFFFFFFFF)
    a, b, c, d = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (second >> np.uint64(32)) ^ b ^ np.uint64(k0), second & low
        c, d = (first >> np.uint64(32)) ^ d ^ np.uint64(k1), first & low
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def check_philox():
    """The known answers of Random123 (tests/kat_vectors)."""
    for counter, key, answer in (
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ):
        words = philox_words([[word] for word in counter], key[0] | key[1] << 32)
        assert [f"{int(word[0]):08x}" for word in words] == answer.split(), words


class Philox:
    """Draw d of stable-diffusion-webui's NV noise: the counter is [d, 0, index, 0], the key is the seed."""

    def __init__(self, seed):
        self.seed, self.draws = seed, 0

    def randn(self, shape):
        index = np.arange(np.prod(shape), dtype=np.uint64)
        zeros = np.zeros_like(index)
        length, angle, _, _ = philox_words([zeros + np.uint64(self.draws), zeros, index, zeros], self.seed)
        self.draws += 1
        unit, turn = np.float32(2.3283064e-10), np.float32(2.3283064e-10 * 6.2831855)
        u = length * np.float64(unit) + np.float64(unit / 2)
        v = angle * np.float64(turn) + np.float64(turn / 2)
        return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32)).reshape(tuple(shape))


def philox():
    """Successive draws; of long ones the first and last eight numbers."""
    check_philox()
    sequences = []
    for seed, shapes in (
        (0, [[3, 4], [1, 4, 8, 8]]),
        (1, [[1, 4, 64, 64]]),
        (42, [[1], [2], [1, 4, 3, 3], [1, 4, 3, 3]]),
        (2**32 + 5, [[16], [16]]),
        (2**64 - 3, [[16], [1, 4, 8, 8]]),
    ):
        source = Philox(seed)
        draws = [(shape, source.randn(shape).flatten()) for shape in shapes]
        ends = [
            {"shape": shape, "first": floats(values[:8]), "last": floats(values[-8:])} for shape, values in draws
        ]
        sequences.append({"seed": seed, "draws": ends})
    write("philox.json", {"sequences": sequences})


# ---------------------------------------------------------------------------------------------- a picture's first noise


class Torch:
    def __init__(self, seed):
        self.source = generator(seed)

    def randn(self, shape):
        return torch.randn(shape, generator=self.source)


def slerp(strength, low, high):
    """Along axis 1 of [channels, height, width]; nearly parallel noises are mixed the other way round."""
    unit = [x / torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (low, high)]
    cosine = (unit[0] * unit[1]).sum(dim=1)
    if cosine.mean() > 0.9995:
        return strength * low + (1 - strength) * high
    angle = cosine.acos()
    weights = [(((1 - strength) * angle).sin() / angle.sin()), ((strength * angle).sin() / angle.sin())]
    return weights[0].unsqueeze(1) * low + weights[1].unsqueeze(1) * high


def overlap(to, from_):
    """Slices of `to` and `from_` places: half the difference, rounded down, before the shorter one."""
    before = (to - from_) // 2
    length = from_ if before >= 0 else from_ + 2 * before
    inner, outer = max(before, 0), max(-before, 0)
    return slice(inner, inner + length), slice(outer, outer + length)


def first_and_next(source, seed, variation, resized_from, ensd):
    """The first noise of a picture of SHAPE, and the next that a sampler is given."""
    shape = SHAPE[1:]
    drawn = shape if resized_from is None else [shape[0], resized_from[1], resized_from[0]]
    own = source(seed)
    if drawn == shape:
        first = own.randn(shape)
    else:
        first, canvas = source(seed).randn(drawn), own.randn(shape)
    if variation is not None and variation[1] != 0:
        first = slerp(variation[1], first, source(variation[0]).randn(drawn))
    if drawn != shape:
        (y, from_y), (x, from_x) = (overlap(shape[axis], drawn[axis]) for axis in (1, 2))
        canvas[:, y, x] = first[:, from_y, from_x]
        first = canvas
    steps = source(seed + ensd) if ensd else own
    return first, steps.randn(shape)


def first_noise():
    """Every combination; every eleventh number of the first noise, the first three of the next."""
    results = []
    for rng, source in (("cpu", Torch), ("nv", Philox)):
        for variation in (None, [12, 0.0], [12, 0.3], [12, 1.0], [7, 0.4]):
            for resized_from in (None, [5, 6], [3, 3], [8, 9], [2, 11], [10, 4]):
                for ensd in (0, 31337):
                    first, following = first_and_next(source, 7, variation, resized_from, ensd)
                    case = {"rng": rng, "variation": variation, "resized_from": resized_from, "ensd": ensd}
                    results.append({**case, "first": floats(first)[::11], "next": floats(following)[:3]})
    low, other = (torch.randn(SHAPE[1:], generator=generator(seed)) for seed in (1, 2))
    mixes = []
    for share in (0.01, 0.5, -1.0):
        high = low + share * other
        for strength in (0.1, 0.5, 0.9):
            mixes.append({"share": share, "strength": strength, "mixed": floats(slerp(strength, low, high))[::5]})
    write("first_noise.json", {"seed": 7, "shape": SHAPE, "results": results, "slerp": mixes})


# ---------------------------------------------------------------------------------------------- Brownian noise


def sample(tensor):
    """At most eight numbers, evenly spread."""
    values = floats(tensor)
    return values[:: max(1, len(values) // 8)][:8]


def queries(sigmas):
    """Steps in order, as the SDE samplers take them; then halves of steps, and steps out of order and upwards."""
    steps = list(zip(sigmas[:-1], sigmas[1:]))
    halves = [(a, (a.log() + 0.5 * (b.log() - a.log())).exp()) for a, b in steps[::3]]
    return [*steps, *halves, *((b, a) for a, b in steps[::-4]), (sigmas[0], sigmas[-1]), steps[2], steps[2]]


def brownian():
    """k-diffusion's BrownianTreeNoiseSampler on torchsde's BrownianTree, in 32 bits on the CPU."""
    import golden
    from torchsde._brownian import brownian_interval

    torch.set_num_threads(1)
    sampling, _ = golden.k_diffusion()
    drawn_by_torch = brownian_interval._randn
    results = []
    for rng, seed, shape, ends in (
        ("cpu", 0, [1, 4, 6, 5], (0.0291675, 14.614642)),
        ("cpu", 42, [1, 4, 3, 3], (0.03, 14.6)),
        ("cpu", 2**32 + 7, [1, 1, 2, 2], (0.002, 80.0)),
        ("cpu", 2**63 - 25, [1, 4, 4, 4], (0.25, 8.0)),
        ("cpu", 2**64 - 1, [1, 4, 64, 64], (0.0291675, 4096.0)),
        ("nv", 2**32 + 7, [1, 4, 6, 5], (0.0291675, 14.614642)),
    ):
        sigmas = sampling.get_sigmas_karras(8, *ends).float()[:-1]
        # stable-diffusion-webui gives torchsde the noise of its own setting
        nv = lambda size, dtype, device, seed: Philox(int(seed)).randn(size)
        brownian_interval._randn = nv if rng == "nv" else drawn_by_torch
        source = sampling.BrownianTreeNoiseSampler(torch.zeros(shape), sigmas.min(), sigmas.max(), seed)
        case = {"rng": rng, "seed": seed, "shape": shape, "range": floats(torch.stack([sigmas.min(), sigmas.max()]))}
        for a, b in queries(sigmas):
            values = source(a, b)
            results.append({**case, "step": floats(torch.stack([a, b])), "values": sample(values)})
    brownian_interval._randn = drawn_by_torch
    write("brownian.json", {"torchsde": metadata.version("torchsde"), "results": results})


NUMBERS = [noise, philox, first_noise, brownian]
