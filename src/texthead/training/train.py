"""The training loop."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.batches import epoch_batches, loader, read
from texthead.data.clips import TrainClips
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.errors import NonNegativeInt, RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import Reading
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank, sum_numbers, together
from texthead.parallel.loaders import worker_faults
from texthead.parallel.progress import Reporter, silent
from texthead.recipes import Recipe
from texthead.runs.folder import save_model
from texthead.runs.metrics import MetricsLog, TrainingRecords
from texthead.training.checkpoints import is_due, restore, save_state
from texthead.training.inputs import feature_clips
from texthead.training.objective import Objective, make_objective
from texthead.training.optimizer import begin_step, make_optimizer, parameter_groups
from texthead.training.start import RunInfo, engine_of, loss_shift, record_engines, run_folder
from texthead.training.step import NO_CLASS, ParallelModel, Trained, precision_on, set_training
from texthead.training.tune import tuned

# Steps between two reads of the losses from a GPU.
READ_EVERY = 10

# Training items that the threshold of several labels is chosen on, if there are no validation items.
MAX_THRESHOLD_ITEMS = 1000


@worker_faults()
def fine_tune(
    model: Recognizer,
    train_set: Dataset,
    val_set: Dataset | None,
    recipe: Recipe,
    *,
    out: str | Path,
    objective: Objective | None = None,
    resume: bool = False,
    reading: Reading = Reading(),
    checkpoint_every: NonNegativeInt | None = None,
    info: RunInfo = RunInfo(),
    reporter: Reporter = Reporter(),
) -> TrainingRecords:
    """Train a model in place, write the run folder, and return the records of the metrics, a list of dictionaries.

    On a CPU, the same recipe, seed, data and thread count give bit-identical losses, for any number of workers and also
    after a stop and `resume`.

    If `torch.distributed` has a process group, each process takes its share of every batch, and the weights equal
    those of a run on one process except for the last bits (but processes draw their own dropout, and batch norms that
    are not frozen see their own share; the statistics of the first process are kept). The first process writes the
    folder; to resume, all read it. An error in one process stops all.

    Args:
        val_set: scored after every epoch; selects nothing but, with several labels, the head's threshold for yes. None:
            that is chosen on training items, at most 1,000.
        objective: a loss of its own, which ignores `class_shares`; None for the recipe's, by default the cross-entropy
            of the logits, or with several labels the sum of the binary cross-entropies of the classes.
        resume: continue the run in `out` after its last checkpoint.
        reading: how files are read; cache and engine are those of a frozen encoder. Unreadable files are errors.
        checkpoint_every: steps between checkpoints, also within epochs. None: every epoch, but with a frozen encoder,
            where epochs are short, the first epoch end after a minute. The last step always writes one. 0: none at
            all. A run can be resumed with another number of processes.
        reporter: gets progress, a message after each epoch, and the records of the metrics, in the first process.

    Source: Eq. 3, Sec. 4.1.

    Raises:
        RunError: the folder already holds a run (with `resume`: holds none or another one), the loss is not finite,
            or the disk is full; the last checkpoint is kept.
        MediaError: an item cannot be read.
        EncoderError: the encoder does not have the part that `tune` selects.
        DataError: there is no item to train on, or the head has no row for a label.
    """
    out, first = Path(out), rank() == 0
    reporter = reporter if first else Reporter().counting(silent)
    objective = objective or make_objective(recipe, model)
    trained = Trained(model.on_features() if recipe.frozen else model, objective)
    # Model and recipe are validated before the run folder is created.
    parameter_groups(trained.model, recipe, objective)
    if objective:
        objective.check(model, accumulate=recipe.accumulate)
    model.spec.pixels(recipe, training=True)
    recipe = replace(recipe, precision=recipe.precision or precision_on(model.device))
    shift = loss_shift(model, train_set, val_set, recipe)
    with (
        tuned(model, recipe) as tuning,
        run_folder(
            out, model, train_set, recipe, objective, info, resume=resume, checkpoint_every=checkpoint_every
        ) as state,
        reporter.bar("train", "clips") as progress,
    ):
        # --- data: pixels, or features of a frozen encoder
        protocol, engines = model.spec.protocol(recipe), set[str]()
        if recipe.frozen:
            reading = replace(reading, engine=engine_of(out, reading.engine), skip_unreadable=False)
            noted = replace(reporter, used=engines.add)
            clips = feature_clips(model, train_set, recipe, protocol.sizes, reading, noted)
            record_engines(out, engines)
        else:
            reading = Reading(reading.workers)
            clips = TrainClips(train_set, recipe, model.spec.pixels(recipe, training=True))
        batches = epoch_batches(len(clips), recipe)
        clip_loader = loader(clips, batches, 0 if recipe.frozen else reading.workers, model.device)
        total, steps = recipe.epochs * len(clips), batches.steps_per_epoch

        # --- parallel model and optimiser: pretrained parts at lr, new parts at lr_new
        parallel = ParallelModel(trained, clips.blank, recipe)
        shift, task = shift.to(parallel.device), model.task
        targets = train_set.targets(task.names)
        optimizer = make_optimizer(parallel.trained, recipe)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if recipe.tune != "all":
            some, every = (f"{sum(map(torch.numel, group)):,}" for group in (weights, model.parameters()))
            reporter.say(f"tune {recipe.tune}: {some} of {every} parameters are trained")

        # --- resume
        log = MetricsLog(out / "metrics.jsonl", write=first, reporter=reporter)
        validate = partial(_validate, model, val_set, protocol, reading, log)
        first_epoch, step = (0, 0) if state is None else restore(state, parallel.trained, optimizer, log, out)
        batches.first_step, saved = step - first_epoch * steps, time.monotonic()
        if batches.first_step:
            reporter.say(f"resumed after step {batches.first_step} of {steps} of epoch {first_epoch + 1}")
        elif first_epoch:
            reporter.say(f"resumed after epoch {first_epoch} of {recipe.epochs}{validate(first_epoch - 1, step)}")

        for epoch in range(first_epoch, recipe.epochs):
            # --- epoch
            batches.epoch, done = epoch, epoch * len(clips) + batches.first_step * recipe.batch
            set_training(parallel.trained.model, recipe)
            one_label = not (objective or task.multilabel)
            metrics, micro_batches = _StepMetrics(log, train_set, epoch, one_label, out), iter(clip_loader)
            for items, micro in batches.steps():
                # --- step: forward and backward, micro-batch by micro-batch
                begin_step(optimizer, recipe, step, steps)
                shares, right, taken = [], torch.zeros((), device=parallel.device), []
                for left in reversed(range(micro)):
                    with together():
                        inputs, positions = read(next(micro_batches))
                    count = len(positions)  # 0 for a blank clip.
                    labels = torch.tensor([NO_CLASS]) if objective and not count else targets[positions]
                    inputs = inputs.to(parallel.device, non_blocking=True)
                    if not objective:  # Which looks up the prompts of labels.
                        labels = labels.to(parallel.device, non_blocking=True)
                    with parallel.micro_batch(count, last=not left):
                        output = parallel(inputs, labels)
                        if objective:
                            summed = output * count
                        else:
                            summed = task.loss(output[:count].float() + shift, labels[:count])
                        share = summed / items
                        (share * parallel.factor).backward()
                    if one_label:
                        right += (output.argmax(-1) == labels).sum()
                    shares.append(share.detach())
                    taken.append(positions)
                    if left:
                        progress(done + sum(map(len, taken)), total)
                step, done = step + 1, done + items
                ended, last = done == (epoch + 1) * len(clips), done == total
                due = is_due(checkpoint_every, step, steps, saved, frozen=recipe.frozen, last=last)
                rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
                numbers = torch.stack([*shares, right])
                metrics.add(_Step(step, items, rates, taken, numbers), now=ended or due)

                # --- update
                if recipe.clip_norm:
                    torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                progress(done, total)

                # --- checkpoint
                if ended and objective:
                    objective.refresh(parallel.trained.model)
                if due:
                    saved = time.monotonic()
                    save_state(out, parallel.trained, optimizer, log, epoch=epoch + ended, step=step)

            # --- validation, after the checkpoint, so that an unreadable item does not lose the epoch
            batches.first_step = 0
            mean = _mean_loss(log.records, epoch, recipe.batch, len(clips))
            reporter.say(f"epoch {epoch + 1} of {recipe.epochs}: loss {mean:.3g}{validate(epoch, step)}")

        # --- finish: merge adapters into the weights
        tuning.close()
        model.eval()  # Learned templates update their rows on leaving training mode.
        if isinstance(model.head, MultiLabelHead) and not val_set:
            known = replace(train_set, items=train_set.items[:: math.ceil(len(train_set) / MAX_THRESHOLD_ITEMS)])
            scored = evaluate(model, known, protocol, reading, reporter=Reporter().counting(silent))
            model.head.fit_threshold(scored.scores, scored.targets)
            reporter.say("no validation items: the threshold for yes is the best for training items, so a little high")
        with together():
            if first:
                save_model(out / "model.safetensors", model)
    return TrainingRecords(log.records)


def _validate(
    model: Recognizer,
    val_set: Dataset | None,
    protocol: Protocol,
    reading: Reading,
    log: MetricsLog,
    epoch: int,
    step: int,
) -> str:
    """Score the validation items after an epoch, log the result, and return it as text; set a head's threshold."""
    if not val_set:
        return ""
    scored = evaluate(model, val_set, protocol, reading, reporter=Reporter().counting(silent))
    rates = {"mean_ap": scored.rate[0]} if val_set.multilabel else {"top1": scored.top1, "top5": scored.top5}
    if isinstance(model.head, MultiLabelHead):
        model.head.fit_threshold(scored.scores, scored.targets)
    with together():
        log.add(kind="val", epoch=epoch, step=step, **rates, count=scored.count)
    return f", {scored.metric} {scored.rate[0]:.1f} on {scored.count} held-out items"


def _mean_loss(records: Sequence[dict], epoch: int, batch: int, length: int) -> float:
    """Return the mean loss over an epoch's items; the last batch may be smaller than the others."""
    losses = [record["loss"] for record in records if record["kind"] == "train" and record["epoch"] == epoch]
    items = [min(batch, length - start) for start in range(0, length, batch)]
    return sum(loss * count for loss, count in zip(losses, items, strict=True)) / length


class _Step(NamedTuple):
    """A step; `numbers`, still on the device, are the share of the loss of each micro-batch, and how many are right."""

    step: int
    items: int
    rates: dict[str, float]
    positions: list[list[int]]
    numbers: Float[Tensor, " micro_batches_and_one"]


@dataclass
class _StepMetrics:
    """The metrics of an epoch's steps, read for several steps at once from a GPU, which reading makes wait."""

    log: MetricsLog
    data: Dataset
    epoch: int
    top1: bool
    out: Path
    started: float = field(default_factory=time.perf_counter)
    done: int = 0
    waiting: list[_Step] = field(default_factory=list)

    def add(self, step: _Step, *, now: bool) -> None:
        """Log a step, or keep it to log it with later ones unless `now` is set.

        Raises: RunError for a loss that is not finite.
        """
        self.waiting.append(step)
        self.done += step.items
        if not (now or step.numbers.device.type == "cpu" or step.step % READ_EVERY == 0):
            return
        rate = round(self.done / (time.perf_counter() - self.started), 2)
        numbers = iter(torch.cat([each.numbers for each in self.waiting]).tolist())
        for each in self.waiting:
            sums = list(accumulate(next(numbers) for _ in each.positions))
            loss, right = sum_numbers(sums[-1], next(numbers))
            if not math.isfinite(loss):
                raise self._overflow(each, loss, sums)
            top1 = {"train_top1": 100 * int(right) / each.items} if self.top1 else {}
            values = {"loss": loss, **top1, **each.rates, "clips_per_second": rate}
            with together():
                self.log.add(kind="train", epoch=self.epoch, step=each.step, **values)
        self.waiting.clear()

    def _overflow(self, step: _Step, loss: float, sums: Sequence[float]) -> RunError:
        """Return the error of a loss that is not finite, which names some items of such a micro-batch."""
        own = next((own for own, total in zip(step.positions, sums, strict=True) if not math.isfinite(total)), [])
        paths = ", ".join(str(self.data.items[position].path) for position in gather_list(own)[:3])
        rates = ", ".join(f"{rate:.3g}" for rate in step.rates.values())
        return RunError(
            f"loss is {loss} at step {step.step} (rates {rates}; items {paths}, ...): lower `lr`; "
            f"the last checkpoint in {self.out / 'state'} is kept"
        )


def seconds_a_clip(model: Recognizer, recipe: Recipe) -> float:
    """Return the seconds of a forward and backward pass of a grey clip, the faster of two; the model stays as it is."""
    side = recipe.size or model.spec.size
    clip = torch.zeros(1, recipe.frames, 3, side, side, dtype=torch.uint8, device=model.device)
    training, seconds = model.training, []
    for _ in range(2):
        start = time.perf_counter()
        model.eval()(clip).sum().backward()
        seconds.append(time.perf_counter() - start)
    model.zero_grad()
    model.train(training)
    return min(seconds)
