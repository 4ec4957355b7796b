"""Predict classes for files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.data.protocol import Protocol
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import zero_shot_note
from texthead.errors import DataError, MediaError, PositiveInt
from texthead.evaluation.broader_names import name_probabilities
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import head_scores
from texthead.features.clips import FILES_OF_CHUNK
from texthead.features.reading import Reading, check_any, readable
from texthead.features.views import item_features
from texthead.media.find import find_names
from texthead.media.paths import MediaPath
from texthead.models.head_rows import known_rows
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Reporter
from texthead.prediction.formats import Prediction as Prediction
from texthead.recipes import Pooling
from texthead.runs.run import Run
from texthead.text.prompts import flat
from texthead.transfer.transductive import refine

# The level at which broader names answer if neither a calibration nor the caller gives one.
USUAL_LEVEL = 0.9


def protocol_of(run: Run | Recognizer, protocol: Protocol | None = None) -> Protocol:
    """Return the protocol: the given one, with the sizes of the run or encoder if it has none; else theirs."""
    if protocol is None:
        return run.protocol
    return protocol if protocol.pixels else replace(protocol, pixels=run.protocol.pixels)


def check_has_sets(calibration: Calibration | None) -> None:
    """Raise DataError if there are no prediction sets."""
    if calibration is None or calibration.coverage is None:
        raise DataError(
            "prediction sets need a calibration for these classes and views; run texthead calibrate RUN DATA"
        )


def zero_shot(
    encoder: Encoder, names: Sequence[str], *, labels: Sequence[str], prompts: Sequence[str | Sequence[str]]
) -> Recognizer:
    """Return a zero-shot model: mean-pooled frame features and a text head, with `labels` as class names.

    The less the text encoder knows the names, the closer are the probabilities.
    """
    # Rounded, since text embeddings differ in the last bits with the prompts of their batch.
    lengths = known_rows(encoder, names, [flat([prompt]) for prompt in prompts]).norm(dim=1)
    known = max(round(float(lengths.mean()), 2), 0.01)
    head = text_head(encoder, names, labels=labels, prompts=prompts, scale=encoder.scale * known)
    return Recognizer(encoder.visual, MeanPool(), head)


def predict(
    run: Run | Recognizer,
    inputs: str | Path | Sequence[str | Path],
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    top: PositiveInt = 5,
    sets: bool = False,
    at_least: float | None = None,
    unlabelled: str | Path | Sequence[str | Path] = (),
    reporter: Reporter = Reporter(),
) -> list[Prediction]:
    """Return `predictions` as a list; same arguments and errors."""
    options = {"top": top, "sets": sets, "at_least": at_least, "unlabelled": unlabelled, "reporter": reporter}
    return list(predictions(run, inputs, protocol, reading, **options))


def predictions(
    run: Run | Recognizer,
    inputs: str | Path | Sequence[str | Path],
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    top: int = 5,
    sets: bool = False,
    at_least: float | None = None,
    unlabelled: str | Path | Sequence[str | Path] = (),
    reporter: Reporter = Reporter(),
) -> Iterator[Prediction]:
    """Yield the `top` classes of each file, in the order of `find_media`, with the run's calibration where valid.

    Args:
        run: a run from `load_run`, or a bare model, which is left in evaluation mode.
        protocol: frames, views and sizes; see `protocol_of` for None.
        reading: workers, batch and engine.
        sets: include the size of the prediction set; `top` grows to contain it.
        at_least: answer with the most specific name of the run's tree whose probability reaches this (0-1), or without
            a tree with the best class if it does, in place of what the calibration's threshold and level decide.
        unlabelled: more files and folders for transductive prediction: `refine` scores all files as one batch, so the
            probabilities of a file depend on the others, and all features are held in memory. A calibrated temperature
            is applied first; a threshold is ignored.
        reporter: gets progress and messages.

    Raises:
        DataError: a path does not exist, a folder has no media, no file can be read, or `sets` is given without
            prediction sets or with `unlabelled`.
        MediaError: files cannot be read; raised after all were tried. If the reading skips unreadable files, their
            predictions have the error instead.
    """
    model, protocol = run.model, protocol_of(run, protocol)
    if model.several and (sets or unlabelled):
        option = "sets" if sets else "unlabelled"
        raise DataError(f"`{option}` is for runs with one label per file, and this one has several: leave it out")
    calibration = answering(run, protocol, at_least)
    if sets and unlabelled:
        raise DataError("prediction sets are not valid with unlabelled files; leave out `sets` or `unlabelled`")
    if sets:
        check_has_sets(calibration)
    names = find_names(inputs, reporter)
    others: list[str] = []
    if unlabelled:
        resolved_names = {MediaPath(name).resolved() for name in names}
        others = [name for name in find_names(unlabelled, reporter) if MediaPath(name).resolved() not in resolved_names]
    features = item_features(model, names + others, protocol, reading, reporter, "predict")
    size = len(names + others) if unlabelled else FILES_OF_CHUNK
    errors: list[MediaError] = []
    start = 0
    while entries := [*islice(features, size)]:
        errors += [entry for entry in entries if isinstance(entry, MediaError)]
        scores, problems = entry_scores(model, entries, protocol.pooling)
        if unlabelled:
            check_any(names + others, range(len(entries) - len(errors)), errors)
            if lost := sum(isinstance(entry, MediaError) for entry in entries[len(names) :]):
                reporter.note(f"{lost} of {len(others)} unlabelled files cannot be read and are left out")
            scores = _refined(model, entries, scores, calibration, reporter)
            calibration = answering(run, protocol, at_least, refined=True)
        paths = [Path(name) for name in names[start : start + len(entries)]]
        own = model.names, paths, scores[: len(paths)], problems[: len(paths)]
        yield from predictions_of(*own, top=top, calibration=calibration, sets=sets, thresholds=model.thresholds)
        start += len(entries)
    readable(errors, skip=reading.skip_unreadable)
    check_any(names, range(start - len(errors)), errors)


def usual_level(run: Run | Recognizer, protocol: Protocol) -> float | None:
    """Return the level of answers if none is given: 0.9 for a run with a tree and without a valid level of its own."""
    calibration, _ = run.calibration_for(protocol)
    fitted = calibration is not None and calibration.level is not None
    return USUAL_LEVEL if run.tree and not fitted else None


def answering(
    run: Run | Recognizer, protocol: Protocol, at_least: float | None, *, refined: bool = False
) -> Calibration | None:
    """Return the valid part of the run's calibration, with answers at a level if one is given; see `predictions`.

    Args:
        refined: the scores were refined with unlabelled files, for which no calibration is valid.

    Raises:
        DataError: the level is not a probability, or files have several labels.
    """
    calibration = None if refined else run.calibration_for(protocol)[0]
    if at_least is None:
        return calibration
    if run.model.several:
        raise DataError(
            f"`at_least={at_least:g}` is for runs with one label per file, and this one has several: leave it out"
        )
    broader = run.tree.broader(run.model.names) if run.tree else {}
    return (calibration or Calibration(1.0, 0)).at_least(at_least, broader)


def _refined(
    model: Recognizer,
    entries: Sequence[Float[Tensor, "views dim"] | MediaError],
    scores: Float[Tensor, "files classes"],
    calibration: Calibration | None,
    reporter: Reporter,
) -> Float[Tensor, "files classes"]:
    """Return the scores after `refine` on all readable files as one batch; note if few classes occur in it."""
    read = [position for position, entry in enumerate(entries) if isinstance(entry, Tensor)]
    features = torch.stack([entry.mean(0) for entry in entries if isinstance(entry, Tensor)])
    assert isinstance(model.head.weight, Tensor)
    rows = model.head.weight.detach().cpu()
    # A head may score each frame: then a file's feature is that of its frames one after the other.
    features = features.unflatten(1, (-1, rows.shape[1])).mean(1)
    center = getattr(model.head, "center", None)
    features = F.normalize(features - (features.mean(0) if center is None else center.cpu()), dim=-1)
    prior = scores if calibration is None else calibration.apply(scores)
    refined = refine(prior[read], features, rows)
    if note := refined.note():
        reporter.note(note)
    return scores.index_copy(0, torch.tensor(read), refined.scores.to(scores.dtype))


def entry_scores(
    model: Recognizer, entries: Sequence[Float[Tensor, "views dim"] | MediaError], pooling: Pooling
) -> tuple[Float[Tensor, "files classes"], list[str | None]]:
    """Return (scores per file, NaN if unreadable; problem per file or None)."""
    scores = torch.full((len(entries), len(model.names)), torch.nan)
    for row, entry in zip(scores, entries, strict=True):
        if not isinstance(entry, MediaError):
            # One file at a time, because the last bits of a matrix product depend on its number of rows.
            row.copy_(head_scores(model, entry[None], pooling=pooling)[0])
    return scores, [entry.problem if isinstance(entry, MediaError) else None for entry in entries]


def predictions_of(
    names: tuple[str, ...],
    paths: Sequence[Path],
    scores: Float[Tensor, "files classes"],
    problems: Sequence[str | None],
    *,
    top: int,
    calibration: Calibration | None = None,
    sets: bool = False,
    thresholds: Float[Tensor, " classes"] | None = None,
) -> list[Prediction]:
    """Return the prediction of each file from its scores or its problem.

    Args:
        thresholds: with several labels per file, the log-odds from which on it has a class.
    """
    probabilities, known = apply_calibration(scores, calibration)
    answers: list[tuple[str, float] | None] = [None] * len(paths)
    if calibration and calibration.level:
        every, given = (*names, *calibration.level.broader), calibration.answers(scores).tolist()
        values = name_probabilities(probabilities, calibration.level.broader)
        answers = [(every[name], float(values[i, name])) if name >= 0 else None for i, name in enumerate(given)]
        known = [answer is not None for answer in answers]
    sizes = calibration.sets(scores).sum(1).tolist() if sets and calibration else [None] * len(paths)
    # Sorted by score, because probabilities can be equal (0 or 1) where scores are not.
    order = scores.argsort(dim=-1, descending=True, stable=True)
    chosen: list[int | None] = [None] * len(paths)
    if thresholds is not None:
        # The classes above their thresholds first.
        yes, probabilities = scores >= thresholds, scores.sigmoid()
        order = order.gather(1, yes.gather(1, order).int().argsort(dim=-1, descending=True, stable=True))
        chosen = yes.sum(1).tolist()
    result: list[Prediction] = []
    for i, (path, problem) in enumerate(zip(paths, problems, strict=True)):
        if problem is not None:
            result.append(Prediction(path, error=problem))
            continue
        indices = order[i, : max(top, sizes[i] or 0, chosen[i] or 0)].tolist()
        pairs = tuple((names[index], float(probabilities[i, index])) for index in indices)
        result.append(Prediction(path, pairs, None, known[i], sizes[i], chosen[i], answers[i]))
    return result


def apply_calibration(
    scores: Float[Tensor, "items classes"], calibration: Calibration | None
) -> tuple[Float[Tensor, "items classes"], list[bool]]:
    """Return (probabilities 0-1, whether each item is known); without calibration all are."""
    if calibration is None:
        return scores.softmax(dim=-1), [True] * len(scores)
    return calibration.apply(scores).softmax(dim=-1), calibration.is_known(scores).tolist()


def names_notes(model: Run | Recognizer) -> list[str]:
    """Return caveats for answers with classes that a person typed, in place of those of a run."""
    notes = []
    if len(model.model.names) == 1 and not model.model.several:
        notes.append("a single class always gets 100 %: name others to compare it with")
    else:
        notes.append("probabilities from names alone are not calibrated: a wrong name may get a high one")
    note = zero_shot_note(model.model.spec.source, model.model.names)
    return [*notes, note] if note else notes
