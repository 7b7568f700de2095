"""How do the samplers that k-diffusion lacks step, and those of rectified flow? For `golden_samplers.py`.

Written out from the papers and from what stable-diffusion-webui (`modules/sd_samplers_extra.py`) and ComfyUI
(`comfy/k_diffusion/sampling.py`) do, with `r = sigma / alpha` as the noise level where a method goes by the ratio of
noise to data. Everything is in float64.
"""

import math

import torch

SHAPE, BEND = (2, 4, 3, 3), 0.1


def ramp(function):
    return torch.tensor([function(i) for i in range(72)], dtype=torch.float64).reshape(SHAPE)


MEAN, TURN = ramp(lambda i: math.cos(0.37 * i)), ramp(lambda i: math.sin(0.37 * i))


class Exploding:
    """x = clean + sigma * noise."""

    alpha = staticmethod(lambda sigma: 1.0)
    of_ratio = staticmethod(lambda ratio: ratio)

    @staticmethod
    def ancestral(start, end, eta):
        """The level to go down to, what that is multiplied by, and the noise that is added: get_ancestral_step."""
        up = min(end, eta * end * math.sqrt(1 - (end / start) ** 2))
        return math.sqrt(end**2 - up**2), 1.0, up


class Flow:
    """x = (1 - sigma) * clean + sigma * noise."""

    alpha = staticmethod(lambda sigma: 1.0 - sigma)
    of_ratio = staticmethod(lambda ratio: ratio / (1 + ratio))

    @staticmethod
    def ancestral(start, end, eta):
        """The same for the ancestral samplers of ComfyUI whose names end in RF."""
        down = end * (1 + (end / start - 1) * eta)
        scale = (1 - end) / (1 - down)
        return down, scale, math.sqrt(max(end**2 - (down * scale) ** 2, 0.0))


class Model:
    """The exact denoiser of data ~ N(cos(0.37 i), 0.25), and a bend that no multistep method follows exactly."""

    def __init__(self, process):
        self.process = process

    def __call__(self, x, sigma, **_):
        sigma = float(torch.as_tensor(sigma).flatten()[0])
        alpha = self.process.alpha(sigma)
        variance = 0.25 * alpha**2 + sigma**2
        bend = BEND * torch.sin(3 * x / math.sqrt(alpha**2 + sigma**2))
        return MEAN + 0.25 * alpha / variance * (x - alpha * MEAN) + bend

    def negative(self, x, sigma):
        """The estimate for the negative prompt, by which CFG++ steps."""
        ratio = sigma / self.process.alpha(sigma)
        return self(x, sigma) - 0.2 * ratio**2 / (0.25 + ratio**2) * TURN


def ratio_of(process, sigma):
    return sigma / process.alpha(sigma)


def lcm(model, x, sigmas, noise, **_):
    """Luo et al. 2023, algorithm 3: denoise fully, then add noise for the next level."""
    for start, end in zip(sigmas, sigmas[1:]):
        denoised = model(x, start)
        x = denoised if end == 0 else model.process.alpha(end) * denoised + end * noise(start, end)
    return x


def ancestral(model, x, sigmas, noise, eta=1.0, s_noise=1.0, middle=None):
    """Euler, DPM2 or DPM++ 2S a; `middle` is the level of the second evaluation."""
    for start, end in zip(sigmas, sigmas[1:]):
        down, scale, up = model.process.ancestral(start, end, eta) if end else (0.0, 1.0, 0.0)
        denoised = model(x, start)
        if middle and down > 0:
            at = middle(model.process, start, down)
            guess = x + (at - start) * (x - denoised) / start
            second = model(guess, at)
            slope = (guess - second) / at if middle is log_middle else (x - second) / start
        else:
            slope = (x - denoised) / start
        x = scale * (x + (down - start) * slope)
        if up > 0:
            x = x + up * s_noise * noise(start, end)
    return x


def log_middle(_, start, down):
    return math.sqrt(start * down)


def ratio_middle(process, start, down):
    return process.of_ratio(math.sqrt(ratio_of(process, start) * ratio_of(process, down)))


def dpmpp_sde(model, x, sigmas, noise, eta=1.0, s_noise=1.0):
    """DPM-Solver++ for the SDE with r = 1/2, in x / alpha."""
    process = model.process

    def move(x, denoised, start, end):
        down, _, up = Exploding.ancestral(ratio_of(process, start), ratio_of(process, end), eta)
        share = down / ratio_of(process, start)
        moved = share * x / process.alpha(start) + (1 - share) * denoised
        return process.alpha(end) * (moved + (up * s_noise * noise(start, end) if up > 0 else 0))

    for start, end in zip(sigmas, sigmas[1:]):
        denoised = model(x, start)
        if end == 0:
            return denoised
        at = ratio_middle(process, start, end)
        x = move(x, model(move(x, denoised, start, at), at), start, end)
    return x


def multistep_sde(model, x, sigmas, noise, eta=1.0, s_noise=1.0, order=2, solver_type="midpoint"):
    """DPM-Solver++ (2M and 3M) for the SDE: derivatives of the estimate in lambda, from divided differences."""
    process, past = model.process, []
    for start, end in zip(sigmas, sigmas[1:]):
        past = [(-math.log(ratio_of(process, start)), model(x, start)), *past][:order]
        if end == 0:
            return past[0][1]
        h = -math.log(ratio_of(process, end)) - past[0][0]
        decay = math.exp(-h * (1 + eta))
        phi_2 = 1 - (1 - decay) / (h * (1 + eta))
        change = (1 - decay) * past[0][1]
        slopes = [(a[1] - b[1]) / (a[0] - b[0]) for a, b in zip(past, past[1:])]
        if len(slopes) == 1:
            change = change + (0.5 * (1 - decay) if (order, solver_type) == (2, "midpoint") else phi_2) * h * slopes[0]
        if len(slopes) == 2:
            near, far = past[0][0] - past[1][0], past[1][0] - past[2][0]
            bend = (slopes[0] - slopes[1]) / (near + far)
            change = change + phi_2 * h * (slopes[0] + near * bend) - (phi_2 / (h * (1 + eta)) - 0.5) * h**2 * bend
        x = end / start * math.exp(-h * eta) * x + process.alpha(end) * change
        if eta > 0:
            x = x + end * math.sqrt(1 - math.exp(-2 * h * eta)) * s_noise * noise(start, end)
    return x


def euler_ancestral_cfg_pp(model, x, sigmas, noise, eta=1.0, s_noise=1.0):
    """ComfyUI's: the guided estimate, with DDIM's direction and noise of the negative one."""
    process = model.process
    for start, end in zip(sigmas, sigmas[1:]):
        denoised, direction = model(x, start), (x - process.alpha(start) * model.negative(x, start)) / start
        if end == 0:
            return denoised
        down, _, up = Exploding.ancestral(ratio_of(process, start), ratio_of(process, end), eta)
        x = process.alpha(end) * (denoised + down * direction + (up * s_noise * noise(start, end) if up > 0 else 0))
    return x


def euler_cfg_pp(*arguments, **options):
    return euler_ancestral_cfg_pp(*arguments, **{**options, "eta": 0.0})


def res_multistep_ancestral(model, x, sigmas, noise, eta=1.0, s_noise=1.0):
    """ComfyUI's: Zhang et al. 2023, order 2, with phi functions of -h."""
    last = None
    for i, (start, end) in enumerate(zip(sigmas, sigmas[1:])):
        denoised = model(x, start)
        down, _, up = Exploding.ancestral(start, end, eta) if end else (0.0, 1.0, 0.0)
        if down == 0 or last is None:
            x = x + (down - start) * (x - denoised) / start
        else:
            h, c_2 = math.log(start / down), math.log(last[0] / sigmas[i - 1]) / math.log(start / down)
            phi_1 = math.expm1(-h) / -h
            b_2 = (phi_1 - 1) / -h / c_2
            x = math.exp(-h) * x + h * ((phi_1 - b_2) * denoised + b_2 * last[1])
        if up > 0:
            x = x + up * s_noise * noise(start, end)
        last = (down, denoised)
    return x


def res_multistep(*arguments, **options):
    return res_multistep_ancestral(*arguments, **{**options, "eta": 0.0})


def er_sde(model, x, sigmas, noise, s_noise=1.0, points=200):
    """ComfyUI's: Cui et al. 2023, ER-SDE-Solver-3 with the noise scaling of ER-SDE 5; integrals are sums from below."""
    process, past = model.process, []
    scale = lambda ratio: ratio * (math.exp(ratio**0.3) + 10)
    for start, end in zip(sigmas, sigmas[1:]):
        past = [(ratio_of(process, start), model(x, start)), *past][:3]
        if end == 0:
            return past[0][1]
        high, low = past[0][0], ratio_of(process, end)
        kept, step = scale(low) / scale(high), (high - low) / points
        places = [low + k * step for k in range(points)]
        first = sum(step / scale(place) for place in places)
        second = sum(step * (place - high) / scale(place) for place in places)
        x = process.alpha(end) * (kept * x / process.alpha(start) + (1 - kept) * past[0][1])
        slopes = [(a[1] - b[1]) / (a[0] - b[0]) for a, b in zip(past, past[1:])]
        if slopes:
            x = x + process.alpha(end) * (low - high + first * scale(low)) * slopes[0]
        if len(slopes) == 2:
            bend = 2 * (slopes[0] - slopes[1]) / (high - past[2][0])
            x = x + process.alpha(end) * ((low - high) ** 2 / 2 + second * scale(low)) * bend
        x = x + process.alpha(end) * math.sqrt(max(low**2 - (high * kept) ** 2, 0)) * s_noise * noise(start, end)
    return x


def stages(model, x, sigmas, noise, eta=1.0, s_noise=1.0, r=(0.5,), weights=None):
    """ComfyUI's SEEDS: Gonzalez et al. 2023; `weights` gives those of the estimates so far after each stage."""
    process = model.process
    for start, end in zip(sigmas, sigmas[1:]):
        estimates = [model(x, start)]
        if end == 0:
            return estimates[0]
        begin = -math.log(ratio_of(process, start))
        h, walk, before, at = -math.log(ratio_of(process, end)) - begin, 0, 0.0, start
        for k, share in enumerate((*r, 1.0)):
            sigma = process.of_ratio(math.exp(-begin - share * h)) if k < len(r) else end
            if eta > 0:
                passed = (share - before) * h * eta
                walk = walk * math.exp(-passed) + math.sqrt(1 - math.exp(-2 * passed)) * noise(at, sigma)
            change = sum(w * each for w, each in zip(weights(k, h * (1 + eta)), estimates))
            moved = sigma / start * math.exp(-share * h * eta) * x + process.alpha(sigma) * change
            moved = moved + sigma * s_noise * walk
            before, at = share, sigma
            if k < len(r):
                estimates.append(model(moved, sigma))
        x = moved
    return x


def phi_1(h):
    """`h` times the phi function of order 1, at `-h`."""
    return -math.expm1(-h)


def phi_2(h):
    """The same of order 2."""
    return 1 + math.expm1(-h) / h


def seeds_2(*arguments, **options):
    return stages(*arguments, weights=lambda k, h: [[phi_1(0.5 * h)], [0, phi_1(h)]][k], **options)


def by_phi_2(r):
    return lambda k, h: [[phi_1(r * h)], [phi_1(h) - phi_2(h) / r, phi_2(h) / r]][k]


def exp_heun_2_x0_sde(*arguments, **options):
    return stages(*arguments, r=(1.0,), weights=by_phi_2(1.0), **options)


def exp_heun_2_x0(*arguments, **_):
    return stages(*arguments, eta=0.0, r=(1.0,), weights=by_phi_2(1.0))


def res_2s(*arguments, **_):
    """stable-diffusion.cpp's, with eta 0."""
    return stages(*arguments, eta=0.0, weights=by_phi_2(0.5))


def seeds_3(*arguments, **options):
    def weights(k, h):
        second, third = 2 * phi_2(2 / 3 * h), phi_2(h) * 1.5
        return [[phi_1(h / 3)], [phi_1(2 / 3 * h) - second, second], [phi_1(h) - third, 0, third]][k]

    return stages(*arguments, r=(1 / 3, 2 / 3), weights=weights, **options)


def ipndm(model, x, sigmas, noise, weights=None):
    """Adams-Bashforth of order 4 for even steps."""
    even = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
    past = []
    for i, (start, end) in enumerate(zip(sigmas, sigmas[1:])):
        denoised = model(x, start)
        past = [(x - denoised) / start, *past][:4]
        used = even[len(past) - 1] if weights is None else weights(sigmas, i, len(past))
        x = denoised if end == 0 else x + (end - start) * sum(w * slope for w, slope in zip(used, past))
    return x


def uneven(sigmas, i, count):
    """ComfyUI's weights for steps of uneven length, as differences of the slopes, newest first."""
    h = [sigmas[i - k + 1] - sigmas[i - k] for k in range(count)]
    weights = [1.0, 0.0, 0.0, 0.0]
    if count > 1:
        weights = [1 + h[0] / h[1] / 2, -h[0] / h[1] / 2, 0.0, 0.0]
    if count > 2:
        both = h[0] + h[1]
        share = (1 - h[0] / (3 * both) * (h[0] * both) / (h[1] * (h[1] + h[2]))) / 2
        near = h[1] / h[2]
        weights = [a + share * b for a, b in zip(weights, [1, -(1 + near), near, 0])]
    if count > 3:
        share = (1 - h[0] / (3 * both)) / 2 + (1 - h[0] / (2 * both)) * h[0] / (6 * (both + h[2]))
        share *= h[0] * both * (both + h[2]) / (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]))
        far = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        fourth = [1, -(1 + near + far), near + far * (1 + h[2] / h[3]), -far * near]
        weights = [a + share * b for a, b in zip(weights, fourth)]
    return weights


def ipndm_v(*arguments):
    return ipndm(*arguments, weights=uneven)


def churned(x, start, steps, noise, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0):
    """Karras et al. 2022, algorithm 2; as k-diffusion does, noise is drawn for every step."""
    if s_churn == 0:
        return x, start
    drawn, gamma = noise(start, start), min(s_churn / steps, math.sqrt(2) - 1) if s_tmin <= start <= s_tmax else 0.0
    return x + s_noise * start * math.sqrt((1 + gamma) ** 2 - 1) * drawn, start * (1 + gamma)


def heunpp2(model, x, sigmas, noise, **churn):
    """ComfyUI's: slopes of up to three levels, weighted by their share of the highest level."""
    slope = lambda x, sigma: (x - model(x, sigma)) / sigma
    for i, (start, end) in enumerate(zip(sigmas, sigmas[1:])):
        x, start = churned(x, start, len(sigmas) - 1, noise, **churn)
        later = [sigma for sigma in sigmas[i + 1 : i + 3] if sigma > sigmas[-1]]
        slopes, guess, at = [slope(x, start)], x, start
        for sigma in later:
            guess, at = guess + (sigma - at) * slopes[-1], sigma
            slopes.append(slope(guess, sigma))
        weights = [sigma / (len(slopes) * sigmas[0]) for sigma in later]
        x = x + (end - start) * sum(w * d for w, d in zip([1 - sum(weights), *weights], slopes))
    return x


def gradient_estimation(model, x, sigmas, noise):
    """ComfyUI's with gamma 2: Permenter & Yuan 2024."""
    last = None
    for start, end in zip(sigmas, sigmas[1:]):
        slope = (x - model(x, start)) / start
        x = x + (end - start) * (slope if last is None or end == 0 else 2 * slope - last)
        last = slope
    return x


def restart(model, x, sigmas, noise, s_noise=1.0):
    """webui's: Xu et al. 2023, with its own list of restarts."""
    from golden import k_diffusion

    karras = k_diffusion()[0].get_sigmas_karras
    steps = len(sigmas) - 1
    length, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    levels, again = sigmas, None
    if steps >= 20:
        levels = karras(steps - length * times, sigmas[-2], sigmas[0]).tolist()
        low, high = (min(range(len(levels)), key=lambda i: abs(levels[i] - wanted)) for wanted in (0.1, 2))
        again = karras(length + 1, levels[low], levels[high]).tolist()[:-1]
    at = levels[0]
    plan = []
    for i, pair in enumerate(zip(levels, levels[1:])):
        plan.append(pair)
        if again and i + 1 == low:
            plan += list(zip(again, again[1:])) * times
    for start, end in plan:
        if start > at:
            x = x + math.sqrt(start**2 - at**2) * s_noise * noise(at, start)
        slope = (x - model(x, start)) / start
        if end > 0:
            guess = x + (end - start) * slope
            slope = (slope + (guess - model(guess, end)) / end) / 2
        x, at = x + (end - start) * slope, end
    return x
