"""Predict classes for files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.data.protocol import Pooling, Protocol, Views
from texthead.encoders.encoder import Encoder, as_visual
from texthead.encoders.load import zero_shot_note
from texthead.errors import DataError, MediaError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import head_scores
from texthead.features.frames import check_any, readable
from texthead.features.reading import Reading
from texthead.features.views import features_in_parts, item_features, own_frames, own_pixels
from texthead.media.find import find_names
from texthead.media.paths import resolved
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Progress, bar_or
from texthead.prediction.formats import Prediction as Prediction
from texthead.prediction.formats import Predictions
from texthead.runs.folder import rows_digest
from texthead.runs.run import Run
from texthead.transfer.transductive import refine


def protocol_of(run: Run | Recognizer, protocol: Protocol | None = None) -> tuple[Recognizer, Protocol]:
    """Return the model, and how it looks at files: given, the run's, or the encoder's own."""
    if isinstance(run, Run):
        model, own = run.model, run.protocol
    else:
        model = run
        spec = as_visual(run.visual).spec
        own = Protocol(own_frames(spec), own_pixels(spec), Views(origin="centre", stride=spec.stride))
    if protocol is None:
        return model, own
    return model, protocol if protocol.pixels else replace(protocol, pixels=own.pixels)


def calibration_for(run: Run | Recognizer, protocol: Protocol) -> tuple[Calibration | None, str | None]:
    """Return (what of the run's calibration holds here, and why only the temperature does, where that is so).

    Threshold and sets are ranks among the scores of these very rows, looked at in this way. Where the classes were
    edited since, or files are looked at otherwise, they promise nothing and are left out; the temperature stays, as the
    best guess of how sure the model is. Other classes (`Run.with_classes`) have no calibration.
    """
    if not isinstance(run, Run) or run.calibration is None:
        return None, None
    found = run.calibration
    if found.classes != rows_digest(run.head.weight):
        why = "its classes were edited"
    elif found.protocol != protocol.to_json():
        why = "it was made with other frames, views or sizes"
    else:
        return found, None
    promises = found.threshold is not None or found.coverage is not None
    left = "; threshold and sets are left out" if promises else ""
    return found.without_promises(), f"{why}: the temperature stays as a guess{left} (calibrate again for these)"


def check_has_sets(calibration: Calibration | None) -> None:
    """Raise DataError if there are no label sets."""
    if calibration is None or calibration.coverage is None:
        raise DataError("label sets need a run that is calibrated for what is asked: texthead calibrate RUN DATA")


def zero_shot(
    encoder: Encoder, names: Sequence[str], *, labels: Sequence[str], prompts: Sequence[str | Sequence[str]]
) -> Recognizer:
    """Return a model without any training: the mean of the frames against text rows, with `labels` as names."""
    head = text_head(encoder, names, labels=labels, prompts=prompts)
    return Recognizer(encoder.visual, MeanPool(), head)


def predict(
    run: Run | Recognizer,
    inputs: Sequence[str | Path],
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    top: int = 5,
    sets: bool = False,
    unlabelled: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Predictions:
    """Return the predictions of `predictions` as a list, which a notebook shows as a table.

    Raises:
        DataError, MediaError: as there.
    """
    with bar_or(progress, "predict", "files") as progress:
        return Predictions(
            predictions(run, inputs, protocol, reading, top=top, sets=sets, unlabelled=unlabelled, progress=progress)
        )


def predictions(
    run: Run | Recognizer,
    inputs: Sequence[str | Path],
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    top: int = 5,
    sets: bool = False,
    unlabelled: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Iterator[Prediction]:
    """Yield the best `top` names of each file, in the order of `find_media`, calibrated as `calibration_for` says.

    Args:
        run: a run from `load_run`, or a bare model.
        protocol: how files are read in time and space; None as `protocol_of` says.
        sets: say how many of the best names are in the label set; `top` grows to hold them.
        unlabelled: files and folders that are read too. All files are then one batch, and the probabilities are those
            that `refine` makes of it: a file's depend on the other files, and the features of all are held. A run's
            calibrated temperature comes before that; its threshold is left out.

    Raises:
        DataError: a path that does not exist, a folder without media, no file at all that can be read, or `sets` of
            what has none or with `unlabelled`.
        MediaError: files that cannot be read, when all have been tried, unless the reading skips such files: then
            their predictions hold the errors.
    """
    model, protocol = protocol_of(run, protocol)
    calibration, _ = calibration_for(run, protocol)
    if sets and unlabelled:
        raise DataError("label sets are of files that are scored alone: leave out sets or unlabelled")
    if sets:
        check_has_sets(calibration)
    names = find_names(inputs)
    others: list[str] = []
    if unlabelled:
        here = {resolved(Path(name)) for name in names}
        others = [name for name in find_names(unlabelled) if resolved(Path(name)) not in here]
        parts = iter([item_features(model, [*map(Path, names + others)], protocol, reading, progress)])
    else:
        parts = features_in_parts(model, names, protocol, reading, progress)
    errors: list[MediaError] = []
    start = 0
    for entries in parts:
        errors += [entry for entry in entries if isinstance(entry, MediaError)]
        scores, problems = entry_scores(model, entries, protocol.pooling)
        if unlabelled:
            check_any(names + others, range(len(entries) - len(errors)), errors)
            scores, calibration = _refined(model, entries, scores, calibration), None
        paths = [Path(name) for name in names[start : start + len(entries)]]
        own = slice(len(paths))
        yield from predictions_of(
            model.names, paths, scores[own], problems[own], top=top, calibration=calibration, sets=sets
        )
        start += len(entries)
    readable(errors, skip=reading.skip_unreadable)
    check_any(names, range(start - len(errors)), errors)


def _refined(
    model: Recognizer,
    entries: Sequence[Float[Tensor, "views dim"] | MediaError],
    scores: Float[Tensor, "files classes"],
    calibration: Calibration | None,
) -> Float[Tensor, "files classes"]:
    """Return the scores that `refine` makes of the files that could be read, all in one batch."""
    read = [position for position, entry in enumerate(entries) if isinstance(entry, Tensor)]
    features = torch.stack([entry.mean(0) for entry in entries if isinstance(entry, Tensor)])
    center = getattr(model.head, "center", None)
    features = F.normalize(features - (features.mean(0) if center is None else center.cpu()), dim=-1)
    prior = scores if calibration is None else calibration.apply(scores)
    return scores.index_copy(0, torch.tensor(read), refine(prior[read], features).scores.to(scores.dtype))


def entry_scores(
    model: Recognizer, entries: Sequence[Float[Tensor, "views dim"] | MediaError], pooling: Pooling
) -> tuple[Float[Tensor, "files classes"], list[str | None]]:
    """Return (scores of each file, NaN where it could not be read; why it could not)."""
    scores = torch.full((len(entries), len(model.names)), torch.nan)
    for row, entry in zip(scores, entries, strict=True):
        if not isinstance(entry, MediaError):
            # Each by itself: the last bits of a product depend on how many rows it has.
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
) -> list[Prediction]:
    """Return the prediction of each file from its scores, or from why it has none."""
    probabilities, known = answered(scores, calibration)
    sizes = calibration.sets(scores).sum(1).tolist() if sets and calibration else [None] * len(paths)
    # By the scores: probabilities of which two are 1, or 0, have no order.
    order = scores.argsort(dim=-1, descending=True)
    found: list[Prediction] = []
    for i, (path, problem) in enumerate(zip(paths, problems, strict=True)):
        if problem is not None:
            found.append(Prediction(path, error=problem))
            continue
        places = order[i, : max(top, sizes[i] or 0)].tolist()
        pairs = tuple((names[place], float(probabilities[i, place])) for place in places)
        found.append(Prediction(path, pairs, known=known[i], set_size=sizes[i]))
    return found


def answered(
    scores: Float[Tensor, "items classes"], calibration: Calibration | None
) -> tuple[Float[Tensor, "items classes"], list[bool]]:
    """Return (probabilities (0-1), whether each item gets an answer); without calibration all do."""
    if calibration is None:
        return scores.softmax(dim=-1), [True] * len(scores)
    return calibration.apply(scores).softmax(dim=-1), calibration.is_known(scores).tolist()


def zero_shot_line(model: Run | Recognizer, classes: str | None) -> str | None:
    """Return the note that a head of new classes needs; None where it needs none or the classes are the run's own."""
    recognizer = protocol_of(model)[0]
    return None if classes is None else zero_shot_note(as_visual(recognizer.visual).spec.source, recognizer.names)
