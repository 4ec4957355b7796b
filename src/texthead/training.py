"""Training: one loop, top to bottom; the only `.backward()`."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from texthead.checkpoints import MetricsLog, begin, restore, save_state
from texthead.datasets import Dataset, Pixels, TrainClips, TrainFeatures, label_indices
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation import Evaluation, evaluate
from texthead.features import FeatureCache, Progress, evenly, frame_features, readable
from texthead.files import fingerprints, write_json
from texthead.model_parts import pixels_for
from texthead.recipes import Recipe, lr_factor, step_epoch
from texthead.recognizer import Recognizer
from texthead.runs import classes_json, describe, locked, save_model
from texthead.sampling import Views
from texthead.towers import as_visual
from texthead.transforms import Augmentation


def train(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    *,
    out: str | Path,
    held_out: Dataset | None = None,
    names: Sequence[str] | None = None,
    cache: FeatureCache | None = None,
    workers: int = 0,
    resume: bool = False,
    command: dict[str, object] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[dict]:
    """The metrics' records, after training the model in place and writing the run folder.

    The same recipe, seed, data and thread count give the same losses to the bit on a CPU, for any number of
    workers, and also across a stop and `resume`.

    Args:
        val_set: scored after every epoch; nothing is chosen by it.
        held_out: items to write down for a later test; not looked at.
        names: class names to write down for the labels, as a text encoder reads them; the labels if None.
        cache: where features are kept when the recipe freezes the encoder.
        command: the options of a command that calls this, to write down in `recipe.json`.
        progress: called with (clips done, clips in all).
        say: called with a line of text after each epoch.

    Source: Eq. 3, Sec. 4.1.

    Raises:
        RunError: the folder holds a run already (or none, or another one, with `resume`), the loss is not finite,
            or the disk is full; the last checkpoint stays whole.
        MediaError: an item that cannot be read.
        DataError: no item to train on, or a label that the head has no row for.
    """
    if not len(train_set):
        raise DataError(f"{train_set.source}: no item to train on; check its splits and classes")
    out = Path(out)
    pixels = pixels_for(recipe, as_visual(model.visual).spec)
    about = json.loads(json.dumps({**describe(model, recipe, pixels), "command": command}))
    split = {
        "source": train_set.source,
        "train": [str(item.path.resolve()) for item in train_set.items],
        "train_labels": train_set.labels,
        "train_content": fingerprints([item.path for item in train_set.items]),
        "held_out": [str(item.path.resolve()) for item in (held_out.items if held_out else ())],
        "held_out_labels": held_out.labels if held_out else [],
        "held_out_content": fingerprints([item.path for item in (held_out.items if held_out else ())]),
    }
    classes = classes_json(model.head, names, recipe.template)  # pyright: ignore[reportArgumentType]
    # What cannot be trained is said before the run folder is begun.
    parameter_groups(model.on_features() if recipe.freeze_encoder else model, recipe)
    augmentation_for(recipe, pixels)
    checkpoint_blocks(model.visual, recipe.grad_checkpointing and not recipe.freeze_encoder)
    label_indices(train_set, model.names)
    if val_set:
        label_indices(val_set, model.names)
    with locked(out):
        state = begin(out, about, split, classes, resume=resume)
        if state is None:
            write_json(out / "split.json", split)
            write_json(out / "classes.json", classes)
            write_json(out / "recipe.json", about)
            (out / "metrics.jsonl").unlink(missing_ok=True)
        say = say or (lambda _: None)
        records = _fit(model, train_set, val_set, recipe, pixels, out, state, cache, workers, progress, say)
        # Learned templates put their rows right when training ends.
        save_model(out / "model.safetensors", model.eval())
    return records


def _fit(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    pixels: Pixels,
    out: Path,
    state: dict | None,
    cache: FeatureCache | None,
    workers: int,
    progress: Progress | None,
    say: Callable[[str], None],
) -> list[dict]:
    """The loop."""
    device = next(model.parameters()).device

    # --- clips: pixels, or features that are encoded once
    if recipe.freeze_encoder:
        student, clips = model.on_features(), _feature_clips(model, train_set, recipe, pixels, cache, workers)
        workers = 0
    else:
        augmentation = augmentation_for(recipe, pixels)
        student = model
        clips = TrainClips(train_set, model.names, frames=recipe.frames, augmentation=augmentation, seed=recipe.seed)
    batches = EpochBatches(len(clips), recipe.batch, math.ceil(recipe.batch / recipe.accumulate), seed=recipe.seed)
    loader = _loader(clips, batches, workers, device)

    # --- optimiser: pretrained parts at lr, new parts at lr_new
    optimizer = _optimizer(student, recipe, device)
    log = MetricsLog(out / "metrics.jsonl")
    first_epoch, step = (0, 0) if state is None else restore(state, student, optimizer, log, out)

    def validate(epoch: int) -> str:
        if not val_set:
            return ""
        scored = _validate(model, val_set, recipe, pixels, cache, workers)
        log.add(kind="val", epoch=epoch, step=step, top1=scored.top1, top5=scored.top5, count=scored.count)
        return f", top-1 {scored.top1:.1f} on {scored.count} held-out items"

    # --- epochs; a checkpoint stands before its validation, so that an unreadable item there costs no epoch
    if first_epoch:
        say(f"resumed after epoch {first_epoch} of {recipe.epochs}{validate(first_epoch - 1)}")
    for epoch in range(first_epoch, recipe.epochs):
        batches.epoch = epoch
        set_training(student, recipe)
        started, seen, summed = time.perf_counter(), 0, 0.0
        parts = iter(loader)
        for items, micro in batches.steps():
            at = step_epoch(step, steps_per_epoch=batches.steps_per_epoch, schedule_every=recipe.schedule_every)
            factor = lr_factor(at, epochs=float(recipe.epochs), warmup=float(recipe.warmup))
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout's draws depend on (seed, step) alone
            loss_sum = 0.0
            for left in reversed(range(micro)):
                clip, target, positions = _read(next(parts))
                clip, target = clip.to(device, non_blocking=True), target.to(device, non_blocking=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    logits = student(clip)
                loss = F.cross_entropy(logits.float(), target, reduction="sum") / items
                loss.backward()
                loss_sum += loss.item()
                seen += len(clip)
                if progress and left:
                    progress(epoch * len(clips) + seen, recipe.epochs * len(clips))
                if not math.isfinite(loss_sum):
                    raise _not_finite(loss_sum, step, optimizer, train_set, positions, out)
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, summed = step + 1, summed + items * loss_sum
            rate = round(seen / (time.perf_counter() - started), 2)
            rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
            log.add(kind="train", epoch=epoch, step=step, loss=loss_sum, **rates, clips_per_second=rate)
            if progress:
                progress(epoch * len(clips) + seen, recipe.epochs * len(clips))
        log.sync()
        save_state(out, student, optimizer, epoch=epoch + 1, step=step, records=len(log.records))
        say(f"epoch {epoch + 1} of {recipe.epochs}: loss {summed / seen:.3g}{validate(epoch)}")
    return log.records


def _optimizer(model: Recognizer, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameter_groups(model, recipe),
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda" or None,
    )


def _loader(
    clips: torch.utils.data.Dataset, batches: "EpochBatches", workers: int, device: torch.device
) -> torch.utils.data.DataLoader:
    """The batches in order; its generator is its own, so that workers leave the global one alone."""
    return torch.utils.data.DataLoader(
        clips,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(batches.seed),
    )


def _validate(
    model: Recognizer, val_set: Dataset, recipe: Recipe, pixels: Pixels, cache: FeatureCache | None, workers: int
) -> Evaluation:
    """The score after an epoch: one view, through the feature cache where the encoder is frozen."""
    return evaluate(
        model,
        val_set,
        frames=recipe.frames,
        pixels=pixels,
        views=Views(origin=recipe.origin),
        cache=cache if recipe.freeze_encoder else None,
        workers=workers,
    )


def _feature_clips(
    model: Recognizer, dataset: Dataset, recipe: Recipe, pixels: Pixels, cache: FeatureCache | None, workers: int
) -> TrainFeatures:
    """Clips of features: of each item twice as many frames as a clip takes, encoded once."""
    entries = frame_features(
        as_visual(model.visual),
        [item.path for item in dataset.items],
        partial(evenly, most=2 * recipe.frames),
        pixels,
        cache=cache,
        workers=workers,
    )
    readable(entries, skip=False)
    bank = [entry.features for entry in entries if not isinstance(entry, MediaError)]
    return TrainFeatures(bank, label_indices(dataset, model.names), frames=recipe.frames, seed=recipe.seed)


def augmentation_for(recipe: Recipe, pixels: Pixels) -> Augmentation:
    """The recipe's training crop, flip and gray."""
    return Augmentation(
        size=pixels.size,
        resize=pixels.resize,
        crop=recipe.crop,
        area=recipe.area,
        ratio=recipe.ratio,
        flip=recipe.flip,
        gray=recipe.gray,
        interpolation=pixels.interpolation,
    )


class EpochBatches(torch.utils.data.Sampler):
    """Every item once an epoch in an order drawn from (seed, epoch); batches of (epoch, position) keys.

    The last batch is smaller, never dropped. A batch is cut in parts of `part` items, one forward pass each.
    """

    def __init__(self, length: int, batch: int, part: int, *, seed: int):
        self.length = length
        self.batch = batch
        self.part = part
        self.seed = seed
        self.epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        return math.ceil(self.length / self.batch)

    def steps(self) -> Iterator[tuple[int, int]]:
        """(items, parts) of each optimiser step of an epoch."""
        for start in range(0, self.length, self.batch):
            items = min(self.batch, self.length - start)
            yield items, math.ceil(items / self.part)

    def __len__(self) -> int:
        return sum(parts for _, parts in self.steps())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist()
        for start in range(0, self.length, self.batch):
            whole = order[start : start + self.batch]
            for at in range(0, len(whole), self.part):
                yield [(self.epoch, position) for position in whole[at : at + self.part]]


Batch = tuple[Tensor, Int[Tensor, " items"], list[int]]


def _collate(entries: Sequence[tuple[Tensor | MediaError, int, int]]) -> Batch | MediaError:
    """(clips, label indices, positions) of a batch, or the error of its first unreadable item."""
    clips: list[Tensor] = []
    for clip, _, _ in entries:
        if isinstance(clip, MediaError):
            return clip
        clips.append(clip)
    return torch.stack(clips), torch.tensor([target for _, target, _ in entries]), [p for _, _, p in entries]


def _read(batch: Batch | MediaError) -> Batch:
    """The batch.

    Raises:
        MediaError: an item of it could not be read.
    """
    if isinstance(batch, MediaError):
        raise MediaError(batch.path, f"{batch.problem}; --skip-unreadable would leave out and list such files")
    return batch


def parameter_groups(model: Recognizer, recipe: Recipe) -> list[dict]:
    """AdamW's groups: what was pretrained and the logit scale at `lr`, what is new at `lr_new`.

    Source: Sec. 4.1 (5e-6); the published code (5e-5 for new modules).

    Raises:
        RunError: there is nothing to train but a logit scale, which changes no answer.
    """
    scale = getattr(model.head, "log_scale", None)
    if scale is not None:
        scale.requires_grad_(recipe.learn_scale)
    old = [*model.visual.parameters(), *([scale] if scale is not None else [])]
    new = [*model.temporal.parameters(), *(p for p in model.head.parameters() if p is not scale)]
    groups = [
        {"name": name, "params": [p for p in params if p.requires_grad], "lr": rate, "peak_lr": rate}
        for name, params, rate in (("lr", old, recipe.lr), ("lr_new", new, recipe.lr_new))
    ]
    groups = [group for group in groups if group["params"]]
    if all(p is scale for group in groups for p in group["params"]):
        raise RunError(
            "nothing to train: the encoder is frozen, mean pooling has no parameters and the head is frozen; "
            "use --temporal transformer, a trainable head, or leave out --freeze-encoder"
        )
    return groups


def checkpoint_blocks(visual: nn.Module, on: bool) -> None:
    """Let the encoder's blocks run again in the backward pass, or not.

    Raises:
        RunError: an encoder that cannot.
    """
    switch = getattr(as_visual(visual).net, "set_grad_checkpointing", None)
    if switch is not None:
        switch(on)
    if on and not any(getattr(module, "grad_checkpointing", False) for module in visual.modules()):
        raise RunError(f"{as_visual(visual).spec.source} cannot run blocks again: leave out --grad-checkpointing")


def set_training(model: nn.Module, recipe: Recipe) -> None:
    """Training mode; batch-norm layers stay in evaluation mode where the recipe says so."""
    model.train()
    if recipe.freeze_batchnorm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _not_finite(
    loss: float, step: int, optimizer: torch.optim.Optimizer, dataset: Dataset, positions: Sequence[int], out: Path
) -> RunError:
    rates = ", ".join(f"{group['lr']:.3g}" for group in optimizer.param_groups)
    paths = ", ".join(str(dataset.items[position].path) for position in positions[:3])
    return RunError(
        f"loss is {loss} at step {step + 1} (rates {rates}; items {paths}, ...): lower lr; "
        f"the last checkpoint in {out / 'state'} is kept"
    )
