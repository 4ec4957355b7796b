"""Compare a step of `texthead.fine_tune` with a plain loop and the transformers Trainer.

    python -m benchmarks step [--rounds 5]

All train `mini` at 112 pixels on the same batches of 4 clips of 8 frames in memory: a fixed tensor replaces decoding,
so only the loops are compared. The plain loop (forward, backward, step) is the lower bound. All compute in float32.
A step lasts from one forward pass of the encoder to the next; the first of a run does not count.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import texthead as th
from benchmarks.rounds import Cost, Row, Section, interleaved, now
from texthead.data.clips import TrainClips
from texthead.models.temporal import MeanPool
from texthead.training.step import set_training

CLASSES, SIZE, FRAMES, BATCH, STEPS = 8, 112, 8, 4, 4
NAMES = ("archery", "a bird", "a boat", "juggling", "a kite", "running", "skating", "tennis")
OURS, BARE, TRAINER = "texthead", "plain PyTorch loop", "transformers Trainer"


def recipe() -> th.Recipe:
    """Return the recipe of all rows."""
    return th.recipes.small(frames=FRAMES, temporal="mean", size=SIZE, epochs=1, warmup=0.5, batch=BATCH)


def make_model() -> th.Recognizer:
    """Return the network of all rows; its text rows are random."""
    encoder = th.load_encoder("mini")
    weight = torch.randn(CLASSES, encoder.dim, generator=torch.Generator().manual_seed(0))
    head = th.FrozenHead(weight, names=NAMES, prompts=NAMES, kind="text")
    return th.Recognizer(encoder.visual, MeanPool(), head)


def clip_and_data(folder: Path, steps: int) -> tuple[Tensor, th.Dataset]:
    """Return the clip that replaces all others, and as many items as the steps need."""
    path = folder / "one.png"
    if not path.is_file():
        Image.new("RGB", (SIZE, SIZE)).save(path)
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, 3, SIZE, SIZE), dtype=np.uint8)
    items = (th.Item(path, (NAMES[i % CLASSES],), "train") for i in range(steps * BATCH))
    return torch.from_numpy(pixels), th.Dataset(tuple(items))


def watched(model: th.Recognizer) -> list[Cost]:
    """Return a list that gets the clock readings at the start of every forward pass from now on."""
    marks: list[Cost] = []
    model.visual.register_forward_pre_hook(lambda *_: marks.append(now()))
    return marks


def a_step(marks: Sequence[Cost]) -> Cost:
    """Return the cost of a step, from the start of the second to the start of the last."""
    first, *_, last = marks[1:]
    return Cost(*((end - start) / (len(marks) - 2) for start, end in zip(first, last, strict=True)))


def ours(folder: Path, steps: int) -> Cost:
    """Measure a step inside texthead's loop."""
    clip, data = clip_and_data(folder, steps)
    model = make_model()
    marks = watched(model)
    with (
        tempfile.TemporaryDirectory() as out,
        mock.patch.object(TrainClips, "__getitem__", lambda _, key: (clip, key[1])),
    ):
        th.fine_tune(model, data, None, recipe(), out=out)
    return a_step(marks)


def bare(folder: Path, steps: int) -> Cost:
    """Measure a step of the plain loop."""
    chosen = recipe()
    clip, data = clip_and_data(folder, steps)
    model = make_model()
    marks = watched(model)
    model.head.log_scale.requires_grad_(False)  # pyright: ignore[reportCallIssue]
    set_training(model, chosen)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=chosen.lr, weight_decay=chosen.weight_decay)
    targets, batch = torch.arange(len(data)) % CLASSES, torch.stack([clip] * BATCH)
    for start in range(0, len(data), BATCH):
        F.cross_entropy(model(batch), targets[start : start + BATCH]).backward()
        nn.utils.clip_grad_norm_(trained, chosen.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return a_step(marks)


class WithLoss(nn.Module):
    """The model for the Trainer: it returns its loss, and batch norms stay frozen in training mode."""

    def __init__(self, model: th.Recognizer, chosen: th.Recipe):
        super().__init__()
        self.model, self.chosen = model, chosen

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and the logits."""
        logits = self.model(pixels)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    def train(self, mode: bool = True) -> "WithLoss":
        """Set training mode as texthead does."""
        super().train(mode)
        if mode:
            set_training(self.model, self.chosen)
        return self


def trainer(folder: Path, steps: int) -> Cost:
    """Measure a step of the transformers Trainer, with the same batch and optimiser settings."""
    import transformers

    chosen = recipe()
    clip, data = clip_and_data(folder, steps)
    model = make_model()
    marks = watched(model)
    model.head.log_scale.requires_grad_(False)  # pyright: ignore[reportCallIssue]
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=chosen.lr,
            weight_decay=chosen.weight_decay,
            max_grad_norm=chosen.clip_norm,
            lr_scheduler_type="cosine",
            use_cpu=True,
            remove_unused_columns=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        examples = [{"pixels": clip, "labels": index % CLASSES} for index in range(len(data))]
        # A list is a dataset of torch in all but its type.
        train_set: torch.utils.data.Dataset = examples  # pyright: ignore[reportAssignmentType]
        loop = transformers.Trainer(WithLoss(model, chosen), arguments, train_dataset=train_set)
        loop.remove_callback(transformers.PrinterCallback)
        loop.train()
    return a_step(marks)


def section(rounds: int, _: Path, steps: int = STEPS) -> Section:
    """Measure the loops."""
    loops: dict[str, Callable[[Path, int], Cost]] = {OURS: ours, BARE: bare}
    if importlib.util.find_spec("accelerate"):
        loops[TRAINER] = trainer
    with tempfile.TemporaryDirectory() as folder:
        costs = interleaved({title: partial(run, Path(folder), steps) for title, run in loops.items()}, rounds)
    task = f"training step of `mini`, {torch.get_num_threads()} threads"
    rows = [Row(task, other, OURS, other, 0.95, BARE, BARE) for other in (BARE, TRAINER) if other in costs]
    return Section(costs, rows)
