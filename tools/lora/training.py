"""Trains the adapter: batches of rows, loss on answers only, the epoch kept that does best on conversations it never saw.

The same data, base, settings, seed, versions and machine give the same adapter, byte for byte on a processor. Not promised: the same on
another kind of device.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from examples import NO_LOSS, Example


@dataclass(frozen=True)
class Settings:
    """How to train: epochs, the highest rate, the share of steps in which it rises, rows at once, batches a step, seed, longest gradient."""

    epochs: int
    rate: float
    warmup: float
    batch: int
    accumulation: int
    seed: int
    clip: float = 1.0


@dataclass(frozen=True)
class Step:
    """One step of the optimiser: mean loss of the answer tokens that it saw, in nats."""

    step: int
    loss: float


@dataclass
class Trained:
    """How it went. Losses are means over answer tokens, in nats; of `valid` one before training and one after each epoch."""

    steps: list[Step]
    valid: list[float]
    # The epoch that was kept, from 1; the last one where there is nothing to choose by.
    kept: int


def batches(rows: list[Example], size: int, order: list[int]) -> Iterator[list[Example]]:
    """Rows in batches of `size`, in the order given."""
    for at in range(0, len(order), size):
        yield [rows[number] for number in order[at : at + size]]


def losses(model: torch.nn.Module, rows: list[Example], device: torch.device) -> tuple[torch.Tensor, int]:
    """Sum of the losses of a batch's answer tokens, and how many these are.

    Rows are filled up on the right, where causal attention does not look.
    """
    width = max(len(row.tokens) for row in rows)
    tokens = torch.tensor([row.tokens + [0] * (width - len(row.tokens)) for row in rows], device=device)
    labels = torch.tensor([row.labels + [NO_LOSS] * (width - len(row.labels)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows], device=device)
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    wanted = labels[:, 1:]
    learned = wanted != NO_LOSS
    return functional.cross_entropy(logits[learned].float(), wanted[learned], reduction="sum"), int(learned.sum())


@torch.inference_mode()
def evaluate(model: torch.nn.Module, rows: list[Example], size: int, device: torch.device) -> float:
    """Mean loss over the answer tokens of all rows."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches(rows, size, list(range(len(rows)))):
        loss, tokens = losses(model, batch, device)
        total += float(loss)
        count += tokens
    return total / max(count, 1)


def train(
    model: torch.nn.Module, rows: list[Example], valid: list[Example], settings: Settings, device: torch.device, say: Callable[[str], None]
) -> Trained:
    """Trains what of the model can be trained, and leaves it as it was after its best epoch."""
    learned = [(name, values) for name, values in model.named_parameters() if values.requires_grad]
    optimiser = torch.optim.AdamW([values for _, values in learned], lr=settings.rate, weight_decay=0.0)
    per_step = settings.batch * settings.accumulation
    steps = settings.epochs * math.ceil(len(rows) / per_step)
    warmup = math.ceil(settings.warmup * steps)
    # Up in a straight line, then down to nothing along a cosine.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))),
    )
    shuffle = torch.Generator().manual_seed(settings.seed)
    trained = Trained([], [], settings.epochs)
    best: dict[str, torch.Tensor] = {}
    if valid:
        trained.valid.append(evaluate(model, valid, settings.batch, device))
        say(f"before: loss {trained.valid[-1]:.4f} on the valid split")
    for epoch in range(1, settings.epochs + 1):
        model.train()
        order = torch.randperm(len(rows), generator=shuffle).tolist()
        for step_rows in batches(rows, per_step, order):
            count = sum(label != NO_LOSS for row in step_rows for label in row.labels[1:])
            total = 0.0
            for batch in batches(step_rows, settings.batch, list(range(len(step_rows)))):
                loss, _ = losses(model, batch, device)
                # Every answer token of the step weighs the same, in whichever batch it stands.
                (loss / count).backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_([values for _, values in learned], settings.clip)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
            trained.steps.append(Step(len(trained.steps) + 1, total / count))
            if not math.isfinite(total):
                raise FloatingPointError(f"the loss is {total} at step {len(trained.steps)}; a smaller --rate may help")
            if len(trained.steps) % 10 == 0 or len(trained.steps) == steps:
                say(f"epoch {epoch}, step {len(trained.steps)} of {steps}: loss {total / count:.4f}")
        if valid:
            trained.valid.append(evaluate(model, valid, settings.batch, device))
            say(f"epoch {epoch}: loss {trained.valid[-1]:.4f} on the valid split")
            if trained.valid[-1] <= min(trained.valid[1:]):
                trained.kept = epoch
                best = {name: values.detach().to("cpu", copy=True) for name, values in learned}
    with torch.no_grad():
        for name, values in learned:
            if name in best:
                values.copy_(best[name])
    model.eval()
    return trained
