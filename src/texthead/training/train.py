"""Fine-tune a model: prepare, train its epochs, validate after each, and write the run."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texthead.data.clips import TrainClips, TrainFeatures
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol, Views
from texthead.data.sampling import evenly
from texthead.errors import MediaError, NonNegativeInt
from texthead.evaluation.evaluate import evaluate
from texthead.features.clips import encode
from texthead.features.reading import ReadOptions, readable
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import all_gather_list, raise_on_all_ranks, rank, shard_slice, world_size
from texthead.parallel.loaders import worker_errors
from texthead.parallel.progress import Reporter, silent
from texthead.recipes import Recipe
from texthead.runs.folder import save_model
from texthead.runs.metrics import MetricsLog
from texthead.training.epochs import Epochs
from texthead.training.objective import Objective, make_objective
from texthead.training.optimizer import parameter_groups
from texthead.training.start import RunInfo, logit_adjustment, run_folder
from texthead.training.step import ModelWithLoss, ParallelModel, precision_on
from texthead.training.tune import tuned

# Training items that a multi-label head's threshold is chosen on, if there are no validation items.
MAX_THRESHOLD_ITEMS = 1000


@worker_errors()
def fine_tune(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    *,
    out: str | Path,
    objective: Objective | None = None,
    resume: bool = False,
    reading: ReadOptions = ReadOptions(),
    checkpoint_every: NonNegativeInt | None = None,
    info: RunInfo = RunInfo(),
    reporter: Reporter = Reporter(),
) -> list[dict]:
    """Train a model in place, write the run folder, and return the records of the metrics, a list of dictionaries.

    On a CPU, the same recipe, seed, data and thread count give bit-identical losses, for any number of workers and also
    after a stop and `resume`.

    If `torch.distributed` has a process group, each process takes its share of every batch, and the weights equal
    those of a run on one process except for the last bits (but processes draw their own dropout, and batch norms that
    are not frozen see their own share; the statistics of the first process are kept). The first process writes the
    folder; to resume, all read it. An error in one process stops all.

    Args:
        val_set: scored after every epoch; used for selection only of a multi-label head's threshold. None: the
            threshold is chosen on at most 1,000 training items.
        objective: a loss of its own, which ignores `class_shares`; None for the recipe's, by default the cross-entropy
            of the logits, or for multi-label data the sum of the binary cross-entropies of the classes.
        resume: continue the run in `out` after its last checkpoint.
        reading: how files are read; cache and engine are those of a frozen encoder. Unreadable files are errors.
        checkpoint_every: steps between checkpoints, also within epochs. None: every epoch, but with a frozen encoder,
            where epochs are short, the first epoch end after a minute. The last step always writes one. 0: none at
            all. A run can be resumed with another number of processes.
        reporter: gets progress, a message after each epoch, and the records of the metrics, in the first process.

    Source: Eq. 3, Sec. 4.1.

    Raises:
        RunError: the folder already contains a run (with `resume`: holds none or another one), the loss is not finite,
            or the disk is full; the last checkpoint is kept.
        MediaError: an item cannot be read.
        EncoderError: the encoder does not have the part that `tune` selects.
        DataError: there is no item to train on, or the head has no row for a label.
    """
    out, first = Path(out), rank() == 0
    reporter = reporter if first else Reporter().counting(silent)
    objective = objective or make_objective(recipe, model)
    trained = ModelWithLoss(model.on_features() if recipe.frozen else model, objective)
    # Model and recipe are validated before the run folder is created.
    parameter_groups(trained.model, recipe, objective)
    if objective:
        objective.check(model, accumulate=recipe.accumulate)
    model.spec.pixels(recipe, training=True)
    recipe = replace(recipe, precision=recipe.precision or precision_on(model.device))
    adjustment = logit_adjustment(model, train_set, val_set, recipe)
    with (
        tuned(model, recipe) as tuning,
        run_folder(
            out, model, train_set, recipe, objective, info, resume=resume, checkpoint_every=checkpoint_every
        ) as state,
        reporter.bar("train", "clips") as progress,
    ):
        # --- data: pixels, or features of a frozen encoder
        protocol = model.spec.protocol(recipe)
        if recipe.frozen:
            reading = replace(reading, skip_unreadable=False)
            clips = feature_clips(model, train_set, recipe, reading, reporter)
        else:
            reading = ReadOptions(reading.workers)
            clips = TrainClips(train_set, recipe, model.spec.pixels(recipe, training=True))

        # --- parallel model and optimiser: pretrained parts at lr, new parts at lr_new
        parallel = ParallelModel(trained, clips.blank, recipe)
        groups, fused = parameter_groups(trained.model, recipe, objective), model.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=fused or None)
        log = MetricsLog(out / "metrics.jsonl", write=first, reporter=reporter)
        workers = 0 if recipe.frozen else reading.workers
        epochs = Epochs(
            parallel, optimizer, recipe, train_set, clips, adjustment, log, out, workers, checkpoint_every, progress
        )
        if recipe.tune != "all":
            some, every = (f"{sum(map(torch.numel, group)):,}" for group in (epochs.weights, model.parameters()))
            reporter.say(f"tune {recipe.tune}: {some} of {every} parameters are trained")

        def validate(epoch: int) -> str:
            """Score the validation items after an epoch, log and return the result; set a head's threshold."""
            if not val_set:
                return ""
            scored = evaluate(model, val_set, protocol, reading, reporter=Reporter().counting(silent))
            rates = {"mean_ap": scored.rate[0]} if val_set.multilabel else {"top1": scored.top1, "top5": scored.top5}
            if isinstance(model.head, MultiLabelHead):
                model.head.fit_threshold(scored.scores, scored.targets)
            with raise_on_all_ranks():
                log.add(kind="val", epoch=epoch, step=epochs.step, **rates, count=scored.count)
            return f", {scored.metric} {scored.rate[0]:.1f} on {scored.count} held-out items"

        # --- resume
        first_epoch, within = (0, 0) if state is None else epochs.resume(state)
        if within:
            steps = epochs.batches.steps_per_epoch
            reporter.say(f"resumed after step {within} of {steps} of epoch {first_epoch + 1}")
        elif first_epoch:
            text = validate(first_epoch - 1)
            reporter.say(f"resumed after epoch {first_epoch} of {recipe.epochs}{text}")

        # --- epochs; validation after the checkpoint, so that an unreadable item does not lose the epoch
        for epoch in range(first_epoch, recipe.epochs):
            loss = epochs.train(epoch)
            reporter.say(f"epoch {epoch + 1} of {recipe.epochs}: loss {loss:.3g}{validate(epoch)}")

        # --- finish: merge adapters into the weights
        tuning.close()
        model.eval()  # Learned templates update their rows on leaving training mode.
        if isinstance(model.head, MultiLabelHead) and not val_set:
            known = replace(train_set, items=train_set.items[:: math.ceil(len(train_set) / MAX_THRESHOLD_ITEMS)])
            scored = evaluate(model, known, protocol, reading, reporter=Reporter().counting(silent))
            model.head.fit_threshold(scored.scores, scored.targets)
            reporter.say(
                "no validation items: the decision threshold is chosen on training items, so it is a little high"
            )
        with raise_on_all_ranks():
            if first:
                save_model(out / "model.safetensors", model)
    return log.records


def feature_clips(
    model: Recognizer, dataset: Dataset, recipe: Recipe, reading: ReadOptions, reporter: Reporter = Reporter()
) -> TrainFeatures:
    """Return clips of frame features; each process encodes a share of the items.

    With a cache, an encoder of whole clips keeps no features in memory: each clip is read when it is trained on.

    Clips are drawn from twice as many encoded frames per item. Encoders of whole clips give two clips per item with
    interleaved frames, or with a stride, the first and the last window.

    Raises: MediaError if an item cannot be read.
    """
    items, errors = dataset.items[shard_slice(len(dataset), rank(), world_size())], list[MediaError]()
    views = Views(clips=2, stride=recipe.stride if model.takes_clips else 0)
    clips = Protocol(recipe.frames, model.spec.pixels(recipe), views)
    choose = None if model.takes_clips else partial(evenly, most=2 * recipe.frames)

    def readable_entries() -> Iterator[Any]:
        paths = [item.path for item in items]
        for entry in encode(model.visual_encoder, paths, clips, reading, reporter, choose=choose, leave=True):
            if isinstance(entry, MediaError):
                errors.append(entry)
            elif model.takes_clips:
                yield [*entry] if isinstance(entry, Tensor) else entry
            else:
                yield entry[0]

    with raise_on_all_ranks():
        for item in items if views.uses_windows else ():
            item.media.check_windows()
        bank: list[Any] = [*readable_entries()]
    readable(all_gather_list(errors), skip=False)
    if world_size() > 1:
        bank = all_gather_list(bank)
    return TrainFeatures(bank, frames=recipe.frames, seed=recipe.seed)
