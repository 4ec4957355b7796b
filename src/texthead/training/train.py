"""Training: one loop, top to bottom; the only `.backward()`."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from texthead.data.batches import EpochBatches, epoch_batches, loader, read
from texthead.data.clips import TrainClips, TrainFeatures
from texthead.data.dataset import Dataset, Item, label_indices
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.sampling import evenly
from texthead.data.transforms import Augmentation
from texthead.encoders.encoder import as_visual
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features.cache import FeatureCache
from texthead.features.frames import frame_features, readable
from texthead.features.reading import Reading
from texthead.files import locked, write_json
from texthead.media.fingerprints import fingerprints
from texthead.media.paths import resolved
from texthead.models.build import drop_patches, pixels_for
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import (
    check_same,
    gather_list,
    rank,
    ranks,
    same_as_first,
    share,
    sum_numbers,
    together,
)
from texthead.parallel.loaders import watched
from texthead.parallel.progress import Progress
from texthead.recipes import Recipe, lr_factor, step_epoch
from texthead.runs.folder import classes_json, describe, save_model
from texthead.runs.metrics import MetricsLog
from texthead.training.checkpoints import begin, load_state, restore, save_state
from texthead.training.matching import Matching
from texthead.training.step import Shard, Spread, by_kind, check_spread, clip_gradients, keep_statistics


@watched()
def train(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    *,
    out: str | Path,
    held_out: Dataset | None = None,
    names: Sequence[str] | None = None,
    objective: Matching | None = None,
    shard: Shard = "ddp",
    compiled: bool = False,
    cache: FeatureCache | None = None,
    workers: int = 0,
    resume: bool = False,
    checkpoint_every: int | None = None,
    command: dict[str, object] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    follow: Callable[[dict], None] | None = None,
) -> list[dict]:
    """The metrics' records, after training the model in place and writing the run folder.

    The same recipe, seed, data and thread count give the same losses to the bit on a CPU, for any number of
    workers, and also across a stop and `resume`.

    Where `torch.distributed` has a process group, each of its processes takes its share of every batch, and all end
    with the weights that one process would have but for the last bits (dropout draws apart; batch norms that are not
    frozen see their own share, and the first process's statistics are kept). The first process writes the folder, but
    for the parts of checkpoints, which each writes: all must have the folder. An error in one process stops all.

    Args:
        val_set: scored after every epoch; nothing is chosen by it.
        held_out: items to write down for a later test; not looked at.
        names: class names to write down for the labels, as a text encoder reads them; the labels if None.
        objective: a loss of its own (Eq. 2); None is the cross-entropy of the logits.
        shard: on several processes each has the whole model ("ddp"), or a part of every weight ("fsdp"). What comes
            out does not depend on it.
        compiled: the encoder runs through `torch.compile`, with other last bits and other draws of dropout.
        cache: where features are kept when the recipe freezes the encoder.
        checkpoint_every: steps between checkpoints, within epochs too; None is an epoch's. There is one at the end in
            any case. What comes out does not depend on it. A run goes on with any number of processes, whole or cut.
        command: the options of a command that calls this, to write down in `recipe.json`.
        progress: called with (clips done, clips in all).
        say: called with a line of text after each epoch.
        follow: called, in the first process, with every record of the metrics; after `resume` with the kept ones too.

    Source: Eq. 3, Sec. 4.1.

    Raises:
        RunError: the folder holds a run already (or none, or another one, with `resume`), the loss is not finite,
            or the disk is full; the last checkpoint stays whole.
        MediaError: an item that cannot be read.
        DataError: no item to train on, or a label that the head has no row for.
    """
    out, first = Path(out), rank() == 0
    pixels = pixels_for(recipe, as_visual(model.visual).spec)
    _check(model, train_set, val_set, recipe, objective, pixels, shard, compiled, checkpoint_every)
    own = {} if objective is None else {"objective": objective.config()}
    about = json.loads(json.dumps({**describe(model, recipe, pixels), "command": command, **own}))
    classes = classes_json(model.head, names, recipe.template)  # pyright: ignore[reportArgumentType]
    if not (say and first):
        say = _silent
    if not (progress and first):
        progress = _silent
    options = (resume, checkpoint_every, shard, compiled)
    with _begun(out, about, classes, train_set, held_out, options) as state:
        for module in [model] if objective is None else [model, objective.to(next(model.parameters()).device)]:
            same_as_first(module.state_dict().values())
        make = partial(_Learner, model, recipe, objective, shard, compiled)
        every = checkpoint_every or math.ceil(len(train_set) / recipe.batch)
        records = _fit(
            model, train_set, val_set, recipe, make, pixels, out, state, cache, workers, every, progress, say, follow
        )
        model.eval()  # Learned templates put their rows right when training ends.
        with together():
            if first:
                save_model(out / "model.safetensors", model)
    return records


def _check(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    objective: Matching | None,
    pixels: Pixels,
    shard: Shard,
    compiled: bool,
    checkpoint_every: int | None,
) -> None:
    """Nothing, if all this can be trained: what cannot is said before the run folder is begun.

    The encoder is told which of its parts run in training.
    """
    if not len(train_set):
        raise DataError(f"{train_set.source}: no item to train on; check its splits and classes")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise RunError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}")
    check_spread(shard, compiled, freeze_encoder=recipe.freeze_encoder)
    parameter_groups(model.on_features() if recipe.freeze_encoder else model, recipe, objective)
    if objective:
        objective.check(model, accumulate=recipe.accumulate)
    augmentation_for(recipe, pixels)
    checkpoint_blocks(model.visual, recipe.grad_checkpointing and not recipe.freeze_encoder)
    drop_patches(model.visual, 0.0 if recipe.freeze_encoder else recipe.patch_dropout)
    for dataset in [train_set] if val_set is None else [train_set, val_set]:
        label_indices(dataset, model.names)


@contextmanager
def _begun(
    out: Path,
    about: dict,
    classes: dict,
    train_set: Dataset,
    held_out: Dataset | None,
    options: tuple,
) -> Iterator[dict | None]:
    """The state to go on from, None at the start; the first process holds the run folder and begins it.

    Raises:
        RunError: as `train`; or the processes were given different runs or options, of which the first is `resume`.
    """
    check_same("recipes, models or training items", (about, classes, train_set.items, options))
    state, resume = None, options[0]
    with ExitStack() as held:
        with together():
            if rank() == 0:
                held.enter_context(locked(out))
                split = split_json(train_set, held_out)
                state = begin(out, about, split, classes, resume=resume)
                if state is None:
                    write_json(out / "split.json", split)
                    write_json(out / "classes.json", classes)
                    write_json(out / "recipe.json", about)
                    (out / "metrics.jsonl").unlink(missing_ok=True)
        if resume and rank() > 0:
            state = load_state(out)
        yield state


def split_json(train_set: Dataset, held_out: Dataset | None) -> dict:
    """What `split.json` holds."""
    kept = held_out.items if held_out else ()
    return {
        "source": train_set.source,
        "train": [str(resolved(item.path)) for item in train_set.items],
        "train_labels": train_set.labels,
        "train_content": fingerprints([item.path for item in train_set.items]),
        "held_out": [str(resolved(item.path)) for item in kept],
        "held_out_labels": held_out.labels if held_out else [],
        "held_out_content": fingerprints([item.path for item in kept]),
        "held_out_groups": [item.group for item in kept],
    }


class _Learner:
    """What is trained: the loss, spread over the processes, and its optimiser."""

    def __init__(
        self,
        model: Recognizer,
        recipe: Recipe,
        objective: Matching | None,
        shard: Shard,
        compiled: bool,
        blank: Tensor,
    ):
        self.recipe = recipe
        self.spread = Spread(
            model, objective, blank, shard=shard, compiled=compiled, freeze_encoder=recipe.freeze_encoder
        )
        self.loss = self.spread.loss
        self.device = next(model.parameters()).device
        self.optimizer = _optimizer(self.loss.model, recipe, objective, self.device)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def backward(self, clips: Tensor, labels: Tensor, count: int, items: int, *, last: bool) -> tuple[float, int]:
        """Add the gradients of a part of a step of so many items: (its part of the step's mean loss, right answers).

        `count` of the clips are items; in the last part the gradients of all processes are summed.
        """
        clips, labels = (tensor.to(self.device, non_blocking=True) for tensor in (clips, labels))
        if not count:
            keep_statistics(self.loss.model)  # A blank clip is nothing to learn from.
        with self.spread.part(last=last):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
                start, loss, right = self.spread(clips, labels, count, items)
            start.backward()
        if not count:
            set_training(self.loss.model, self.recipe)
        return loss.item(), int(right)

    def update(self) -> None:
        """Take the step."""
        if self.recipe.clip_norm:
            clip_gradients(self.trained, self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def checkpoint(self, out: Path, log: MetricsLog, *, epoch: int, step: int) -> None:
        """Put the metrics and the state on the disk; all take the first process's statistics of batch norms."""
        same_as_first(self.loss.buffers())
        with together():
            log.sync()
        save_state(out, self.loss, self.optimizer, epoch=epoch, step=step, records=len(log.records))


class _Epochs:
    """The steps of one epoch after another."""

    def __init__(
        self,
        learner: _Learner,
        batches: EpochBatches,
        clip_loader: torch.utils.data.DataLoader,
        log: MetricsLog,
        out: Path,
        items: Sequence[Item],
        checkpoint_every: int,
        progress: Progress,
    ):
        self.learner = learner
        self.batches = batches
        self.clip_loader = clip_loader
        self.log = log
        self.out = out
        self.items = items
        self.checkpoint_every = checkpoint_every
        self.progress = progress

    def run(self, epoch: int, step: int) -> tuple[float, int]:
        """(the mean loss of an epoch's items, steps so far), after its steps from the batches' first one on."""
        learner, batches, recipe = self.learner, self.batches, self.learner.recipe
        batches.epoch = epoch
        set_training(learner.loss.model, recipe)
        begun = seen = batches.first_step * recipe.batch
        started, summed = time.perf_counter(), _summed(self.log.records, epoch, recipe.batch)
        parts = iter(self.clip_loader)
        for items, micro in batches.steps():
            _begin_step(learner.optimizer, recipe, step, batches.steps_per_epoch)
            loss, right = self._step(parts, items, micro, step, done=epoch * batches.length + seen)
            step, seen, summed = step + 1, seen + items, summed + items * loss
            top1 = {} if learner.loss.objective else {"train_top1": 100 * right / items}
            rates = {group["name"]: group["lr"] for group in learner.optimizer.param_groups}
            rates["clips_per_second"] = round((seen - begun) / (time.perf_counter() - started), 2)
            with together():
                self.log.add(kind="train", epoch=epoch, step=step, loss=loss, **top1, **rates)
            self.progress(epoch * batches.length + seen, recipe.epochs * batches.length)
            if step % self.checkpoint_every == 0 and seen < batches.length:
                learner.checkpoint(self.out, self.log, epoch=epoch, step=step)
        batches.first_step = 0
        return summed / seen, step

    def _step(self, parts: Iterator, items: int, micro: int, step: int, *, done: int) -> tuple[float, int]:
        """(the mean loss, right answers) of an optimiser step of all processes, made of so many parts each."""
        learner, loss_sum, right, taken, odd = self.learner, 0.0, 0, 0, []
        for left in reversed(range(micro)):
            with together():
                clips, labels, positions = read(next(parts))
            loss, hits = learner.backward(clips, labels, len(positions), items, last=not left)
            loss_sum, right, taken = loss_sum + loss, right + hits, taken + len(positions)
            odd = odd or ([] if math.isfinite(loss) else positions)
            if left:
                self.progress(done + taken, learner.recipe.epochs * self.batches.length)
        loss_sum, right = sum_numbers(loss_sum, right)
        if not math.isfinite(loss_sum):
            raise _not_finite(loss_sum, step, learner.optimizer, self.items, gather_list(odd), self.out)
        learner.update()
        return loss_sum, int(right)


def _fit(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    make: Callable[[Tensor], _Learner],
    pixels: Pixels,
    out: Path,
    state: dict | None,
    cache: FeatureCache | None,
    workers: int,
    checkpoint_every: int,
    progress: Progress,
    say: Callable[[str], None],
    follow: Callable[[dict], None] | None,
) -> list[dict]:
    """The loop."""
    # --- clips: pixels, or features that are encoded once
    clips = (_feature_clips if recipe.freeze_encoder else _pixel_clips)(
        model, train_set, recipe, pixels, cache, workers
    )
    batches = epoch_batches(len(clips), recipe)

    # --- what learns: pretrained parts at lr, new parts at lr_new
    learner = make(clips.blank)
    clip_loader = loader(clips, batches, 0 if recipe.freeze_encoder else workers, learner.device)
    log = MetricsLog(out / "metrics.jsonl", write=rank() == 0, follow=follow)
    epochs = _Epochs(learner, batches, clip_loader, log, out, train_set.items, checkpoint_every, progress)
    validate = partial(_validate, model, val_set, recipe, pixels, cache, workers, log)
    first_epoch, step = (0, 0) if state is None else restore(state, learner.loss, learner.optimizer, log, out)
    learner.spread.publish()

    # --- epochs; a checkpoint stands before its validation, so that an unreadable item there costs no epoch
    batches.first_step = step - first_epoch * batches.steps_per_epoch
    if batches.first_step:
        say(f"resumed after step {batches.first_step} of {batches.steps_per_epoch} of epoch {first_epoch + 1}")
    elif first_epoch:
        say(f"resumed after epoch {first_epoch} of {recipe.epochs}{validate(first_epoch - 1, step)}")
    for epoch in range(first_epoch, recipe.epochs):
        loss, step = epochs.run(epoch, step)
        if learner.loss.objective:
            learner.loss.objective.refresh(learner.loss.model)
        if step % checkpoint_every == 0 or epoch + 1 == recipe.epochs:
            learner.checkpoint(out, log, epoch=epoch + 1, step=step)
        learner.spread.publish()
        say(f"epoch {epoch + 1} of {recipe.epochs}: loss {loss:.3g}{validate(epoch, step)}")
    return log.records


def _summed(records: Sequence[dict], epoch: int, batch: int) -> float:
    """The losses of an epoch's whole batches so far, each times its items."""
    own = (record for record in records if record["kind"] == "train" and record["epoch"] == epoch)
    return sum((batch * record["loss"] for record in own), 0.0)


def _silent(*_: object) -> None:
    """Nothing to say, or not by this process."""


def _begin_step(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> None:
    """Set the rates of a step, and the seed of what is drawn in it."""
    at = step_epoch(step, steps_per_epoch=steps_per_epoch, schedule_every=recipe.schedule_every)
    factor = lr_factor(at, epochs=float(recipe.epochs), warmup=float(recipe.warmup))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    # Dropout's draws depend on (seed, step) alone, and are others in other processes: far away within 32 bits, which
    # are all that a CPU's generator takes.
    torch.manual_seed(recipe.seed * 1_000_003 + step + rank() * 2_654_435_769)


def _optimizer(
    model: Recognizer, recipe: Recipe, objective: Matching | None, device: torch.device
) -> torch.optim.Optimizer:
    groups = parameter_groups(model, recipe, objective)
    return torch.optim.AdamW(
        [{**group, "params": kind} for group in groups for kind in by_kind(group["params"])],
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda" or None,
    )


def _validate(
    model: Recognizer,
    val_set: Dataset | None,
    recipe: Recipe,
    pixels: Pixels,
    cache: FeatureCache | None,
    workers: int,
    log: MetricsLog,
    epoch: int,
    step: int,
) -> str:
    """Score and log after an epoch, and say so: one view, through the feature cache where the encoder is frozen."""
    if not val_set:
        return ""
    scored = evaluate(
        model,
        val_set,
        Protocol(recipe.frames, pixels, Views(origin=recipe.origin)),
        Reading(workers=workers, cache=cache if recipe.freeze_encoder else None),
    )
    with together():
        log.add(kind="val", epoch=epoch, step=step, top1=scored.top1, top5=scored.top5, count=scored.count)
    return f", top-1 {scored.top1:.1f} on {scored.count} held-out items"


def _pixel_clips(model: Recognizer, dataset: Dataset, recipe: Recipe, pixels: Pixels, *_: object) -> TrainClips:
    """Clips of pixels, decoded anew each time."""
    augmentation = augmentation_for(recipe, pixels)
    return TrainClips(dataset, model.names, frames=recipe.frames, augmentation=augmentation, seed=recipe.seed)


def _feature_clips(
    model: Recognizer, dataset: Dataset, recipe: Recipe, pixels: Pixels, cache: FeatureCache | None, workers: int
) -> TrainFeatures:
    """Clips of features: of each item twice as many frames as a clip takes, encoded once, by one of the processes."""
    paths = [item.path for item in dataset.items]
    with together():
        own = frame_features(
            as_visual(model.visual),
            paths[share(len(paths), rank(), ranks())],
            partial(evenly, most=2 * recipe.frames),
            pixels,
            Reading(workers=workers, cache=cache),
        )
    # Rows of one large tensor would each be sent with all of it.
    entries = gather_list([e if isinstance(e, MediaError) else e._replace(features=e.features.clone()) for e in own])
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


def parameter_groups(model: Recognizer, recipe: Recipe, objective: nn.Module | None = None) -> list[dict]:
    """AdamW's groups: what was pretrained, an objective's too, and the logit scale at `lr`, what is new at `lr_new`.

    Source: Sec. 4.1 (5e-6); the published code (5e-5 for new modules).

    Raises:
        RunError: there is nothing to train but a logit scale, which changes no answer.
    """
    scale = getattr(model.head, "log_scale", None)
    if scale is not None:
        scale.requires_grad_(recipe.learn_scale)
    old = [*model.visual.parameters(), *([scale] if scale is not None else [])]
    old += [] if objective is None else objective.parameters()
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
        keep_statistics(model)


def _not_finite(
    loss: float, step: int, optimizer: torch.optim.Optimizer, items: Sequence[Item], positions: Sequence[int], out: Path
) -> RunError:
    rates = ", ".join(f"{group['lr']:.3g}" for group in optimizer.param_groups)
    paths = ", ".join(str(items[position].path) for position in positions[:3])
    return RunError(
        f"loss is {loss} at step {step + 1} (rates {rates}; items {paths}, ...): lower lr; "
        f"the last checkpoint in {out / 'state'} is kept"
    )
