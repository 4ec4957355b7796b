"""Compare a step of `texthead.fine_tune` with a plain loop, the matching paradigm and the transformers Trainer.

    python -m benchmarks step [--rounds 5]

All train `mini` at 112 pixels on the same batches of 4 clips of 8 frames in memory: a fixed tensor replaces decoding,
so only the loops are compared. The plain loop (forward, backward, step) is the lower bound. All compute in float32.
Matching learns from the texts of its batch (Eq. 2); online, its text encoder (MiniLM and the bridge) is trained too. Of
two processes with one thread each takes half of every batch; with gather each uses the texts of both.

A step lasts from one forward pass of the encoder to the next; the first of a run does not count. Ratios are medians of
the ratios within each round. Memory is the peak of a new process that runs one row's steps.
"""

import statistics
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
from benchmarks.process_group import RunInAll, processes
from benchmarks.rounds import (
    Cost,
    Costs,
    Row,
    Section,
    Way,
    interleaved,
    judge,
    milliseconds,
    now,
    peak_mb,
    ratios,
    table,
)
from paper.matching import Matching
from texthead.data.clips import TrainClips
from texthead.models.temporal import MeanPool
from texthead.training.step import set_training

CLASSES, SIZE, FRAMES, BATCH, STEPS = 8, 112, 8, 4, 4
# A run of so few steps reaches the peak of its memory.
FEW = 3
NAMES = ("archery", "a bird", "a boat", "juggling", "a kite", "running", "skating", "tennis")
OURS, BARE, ONLINE, TRAINER = "texthead", "plain PyTorch loop", "matching, online", "transformers Trainer"
# The paper's times for Table 6, over those of its own method.
PAPER = {"online, gather": 2.0, "offline, gather": 2.0, "online, no gather": 1.06, "offline, no gather": 1.0}


def recipe() -> th.Recipe:
    """Return the recipe of all rows."""
    return th.recipes.small(frames=FRAMES, temporal="mean", size=SIZE, epochs=1, warmup=0.5, batch=BATCH)


def make_model() -> tuple[th.Encoder, th.Recognizer]:
    """Return the encoder without its text half, and the network of all rows; its text rows are random."""
    encoder = th.load_encoder("mini")
    weight = torch.randn(CLASSES, encoder.dim, generator=torch.Generator().manual_seed(0))
    head = th.FrozenHead(weight, names=NAMES, prompts=NAMES, kind="text")
    return encoder, th.Recognizer(encoder.visual, MeanPool(), head)


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


def ours(folder: Path, steps: int, text: str | None = None, gather: bool = False) -> Cost:
    """Measure a step inside texthead's loop; `text` is "online" or "offline" for the matching paradigm."""
    clip, data = clip_and_data(folder, steps)
    encoder, model = make_model()
    marks = watched(model)
    objective = Matching(encoder.text if text == "online" else None, gather=gather) if text else None
    with (
        tempfile.TemporaryDirectory() as out,
        mock.patch.object(TrainClips, "__getitem__", lambda _, key: (clip, key[1])),
    ):
        th.fine_tune(model, data, None, recipe(), out=out, objective=objective)
    return a_step(marks)


def bare(folder: Path, steps: int) -> Cost:
    """Measure a step of the plain loop."""
    chosen = recipe()
    clip, data = clip_and_data(folder, steps)
    _, model = make_model()
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
    _, model = make_model()
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


def reason_without_trainer() -> str | None:
    """Return why the Trainer is not available, in a line; None if it is."""
    try:
        import accelerate  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return str(error)
    return None


Run = Callable[[Path, int], Cost]


def rows() -> tuple[dict[str, Run], dict[str, Run]]:
    """Return (rows of one process, rows of two processes), by title."""
    one: dict[str, Run] = {
        OURS: ours,
        BARE: bare,
        ONLINE: partial(ours, text="online"),
        "matching, offline": partial(ours, text="offline"),
    }
    if reason_without_trainer() is None:
        one[TRAINER] = trainer
    two: dict[str, Run] = {OURS: ours}
    for gather in (True, False):
        for text in ("online", "offline"):
            two[f"matching, {text}, {'gather' if gather else 'no gather'}"] = partial(ours, text=text, gather=gather)
    return one, two


def measure(rounds: int, steps: int = STEPS, memory: bool = True) -> Section:
    """Measure one process and two; `memory` starts new processes for the peaks of one."""
    one, two = rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip_and_data(folder, steps)
        alone = {title: partial(run, folder, steps) for title, run in one.items()}
        costs = interleaved(alone, rounds)
        single = _table(costs, {t: peak_mb(one[t], folder, FEW) for t in (OURS, BARE, TRAINER) if memory and t in one})
        with processes(2) as crew:
            together = {title: _in_both(crew, run, folder, steps) for title, run in two.items()}
            double = _table(interleaved(together, rounds), {})
    left_out = reason_without_trainer()
    note = f"\n\n{TRAINER} is not available: {left_out}" if left_out else ""
    task = f"training step of `mini`, {torch.get_num_threads()} threads"
    first = [
        Row(task, other, ratios(costs, other, OURS), ratios(costs, other, BARE), BARE, target=0.95)
        for other in (BARE, TRAINER)
        if other in costs
    ]
    return Section(f"### One process\n\n{single}{note}\n\n### Two processes of one thread\n\n{double}", first)


def _in_both(crew: RunInAll, run: Run, folder: Path, steps: int) -> Way:
    """Return a method with the slower process's wall time and both processes' CPU time."""

    def way() -> Cost:
        outcome = crew(run, folder, steps)
        return Cost(max(cost.wall for cost in outcome), sum(cost.cpu for cost in outcome))

    return way


def _table(costs: Costs, memory: dict[str, float]) -> str:
    lines = []
    for title in costs:
        by_cpu, by_clock = (statistics.median(ratios(costs, title, OURS, clock)) for clock in ("cpu", "wall"))
        published = next((f"{value:g}" for kind, value in PAPER.items() if title.endswith(kind)), "-")
        lines.append(
            [
                title,
                *milliseconds(costs[title], 0),
                f"{by_cpu:.2f}",
                f"{by_clock:.2f}",
                published,
                f"{memory[title]:.0f}" if title in memory else "-",
            ]
        )
    headers = ["loop", "ms per step", "CPU-ms per step", "CPU time / texthead's", "wall time / texthead's"]
    headers += ["paper's ratio", "peak MB"]
    text = table(headers, lines)
    if BARE in costs:
        ratio, verdict = judge(ratios(costs, OURS, BARE), at_most=1.05)
        text += f"\n\n- texthead / plain PyTorch loop, CPU time: {ratio} ({verdict})"
    return text


def section(rounds: int, _: Path) -> Section:
    """Measure the loops."""
    text, rows = measure(rounds)
    about = (
        f"`mini`, {BATCH} clips of {FRAMES} frames of {SIZE} pixels, {torch.get_num_threads()} threads in one process."
    )
    return Section(f"## A training step\n\n{about}\n\n{text}", rows)
