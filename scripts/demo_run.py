"""How does a stage of training keep time, work in several processes, and survive being stopped?"""

import copy
import json
import math
import os
import time

import torch
import torch.distributed


class Run:
    """One stage's clock, log and checkpoint. The learning rate follows the clock, so a stage always ends on time."""

    def __init__(self, work, name, minutes, slice_ends):
        self.file, self.log_file = work / f"{name}.pt", work / f"{name}.jsonl"
        self.seconds, self.spent, self.step, self.mark = minutes * 60, 0.0, 0, time.monotonic()
        self.slice_ends, self.losses, self.last = slice_ends, [], {}

    @property
    def done(self):
        """The share of the stage's time that is used up; judged by the shared clock, so that all processes agree."""
        return min(self.spent / self.seconds, 1) if self.seconds else 1

    def tick(self):
        """Start a step; False once the stage's time is used up. Pauses over a minute (a sleeping machine, a stopped
        process) do not count."""
        in_time, now = self.done < 1, time.monotonic()
        self.spent += min(now - self.mark, 60)
        self.mark = now
        self.step += in_time
        return in_time

    def rate(self, peak, warmup=150):
        """Cosine from `peak` to a fiftieth of it, after a linear warm-up in steps."""
        return peak * min(1, self.step / warmup) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * self.done)))

    def note(self, loss):
        self.losses.append(loss.detach())

    def due(self, what, seconds):
        """True once every so many seconds of the clock on the wall, for each `what` by itself."""
        now = time.monotonic()
        if now - self.last.setdefault(what, now) < seconds:
            return False
        self.last[what] = now
        return True

    def log(self, **values):
        loss = torch.stack(self.losses).mean().item() if self.losses else float("nan")
        line = {"step": self.step, "minutes": round(self.spent / 60, 2), "loss": round(loss, 5), **values}
        self.losses.clear()
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(self.file.stem, line, flush=True)

    def save(self, **state):
        save_atomically({"spent": self.spent, "step": self.step, **state}, self.file)

    def load(self, device):
        state = torch.load(self.file, weights_only=True, map_location=device)
        self.spent, self.step = state["spent"], state["step"]
        return state

    def must_pause(self):
        """Whether the time slice of this call is over; then the stage is left as its checkpoint, to go on later."""
        if not is_first():
            return False
        return self.slice_ends is not None and time.time() > self.slice_ends


def save_atomically(state, path):
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def work_together(rank, stage, options, meeting):
    """One of several processes that train the same weights, one thread each: on a busy machine that wastes far less
    than threads that wait for each other inside every operation."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes
    )
    stage(options)
    torch.distributed.destroy_process_group()


def run_together(stage, options):
    """A stage in `options.processes` processes; on a GPU in this one."""
    if options.processes == 1:
        return stage(options)
    meeting = options.work / f"meeting-{os.getpid()}-{time.monotonic_ns()}"
    torch.multiprocessing.spawn(work_together, (stage, options, meeting), nprocs=options.processes)
    meeting.unlink(missing_ok=True)


def rank():
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def is_first():
    return rank() == 0


def descend(loss, optimizer, run, peak, **warmup):
    """One step down the average gradient of all processes. The clock and the wish to pause ride along, so that all of
    them stop after the same step. True where they should stop now."""
    optimizer.zero_grad()
    loss.backward()
    weights, pause = optimizer.weights, run.must_pause()
    if torch.distributed.is_initialized():
        flat = torch.cat([torch.tensor([run.spent, float(pause)]), *(w.grad.flatten() for w in weights)])
        torch.distributed.all_reduce(flat)
        run.spent, pause = flat[0].item() / torch.distributed.get_world_size(), flat[1].item() > 0
        flat /= torch.distributed.get_world_size()
        for w, part in zip(weights, flat[2:].split([w.numel() for w in weights])):
            w.grad.copy_(part.view_as(w.grad))
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step(run.rate(peak, **warmup))
    return pause


class Optimizer:
    """Muon (Jordan et al. 2024) for the matrices and filters of `network`, Adam for its vectors and for `others`.

    Muon steps along the momentum made orthogonal. From the same start, 160 steps of the autoencoder came to a loss of
    0.31 with it and 0.37 with Adam. Each process makes its share of the matrices orthogonal, which takes about a
    quarter of the UNet's time on two processor cores.
    """

    def __init__(self, network, others=(), adam_share=0.5, decay=0.0):
        self.matrices = [w for w in network.parameters() if w.ndim > 1]
        vectors = [w for w in network.parameters() if w.ndim == 1]
        rest = vectors + [w for other in others for w in other.parameters()]
        self.weights, self.adam_share, self.decay = self.matrices + rest, adam_share, decay
        self.adam = torch.optim.AdamW(rest, weight_decay=decay, betas=(0.9, 0.99))
        self.momentum = [torch.zeros_like(w) for w in self.matrices]

    def zero_grad(self):
        for w in self.weights:
            w.grad = None

    @torch.no_grad()
    def step(self, rate):
        """`rate` is Muon's; its steps are as large as Adam's usual ones at the same rate (Liu et al. 2025)."""
        self.adam.param_groups[0]["lr"] = rate * self.adam_share
        self.adam.step()
        for w, along in zip(self.matrices, self.directions()):
            w.mul_(1 - rate * self.decay).add_(along, alpha=-rate)

    def directions(self):
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        found, load = [], [0] * processes
        for w, momentum in zip(self.matrices, self.momentum):
            momentum.lerp_(w.grad, 0.05)
            matrix = w.grad.lerp_(momentum, 0.95).flatten(1)
            mine = load.index(min(load))
            load[mine] += matrix.numel() * min(matrix.shape)
            scale = 0.2 * max(matrix.shape) ** 0.5
            found.append(orthogonal(matrix) * scale if mine == rank() else torch.zeros_like(matrix))
        if processes > 1:
            flat = torch.cat([matrix.flatten() for matrix in found])
            torch.distributed.all_reduce(flat)
            found = flat.split([matrix.numel() for matrix in found])
        return [matrix.view_as(w) for matrix, w in zip(found, self.matrices)]

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        for mine, stored in zip(self.momentum, state["momentum"]):
            mine.copy_(stored)


def orthogonal(matrix):
    """Nearly the closest matrix of which all singular values are one, by five steps of Newton and Schulz."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Average:
    """An exponential moving average of weights: steadier pictures than the last step's own."""

    def __init__(self, modules, decay):
        self.live, self.decay, self.updates = modules, decay, 0
        self.copies = [copy.deepcopy(m).requires_grad_(False).eval() for m in modules]

    @torch.no_grad()
    def update(self):
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))  # short memory while weights still move fast
        for copied, live in zip(self.copies, self.live):
            torch._foreach_lerp_(list(copied.parameters()), list(live.parameters()), 1 - decay)
