"""Labelling without a page: the next file, its predictions, and the accuracy of the model."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.apps.doctor import suspicious_labels
from texthead.apps.label.label_file import LabelFile, LabelState, Mark
from texthead.apps.label.labelling import Fit, Pool
from texthead.apps.label.learning_curve import LearningCurve, learning_curve
from texthead.data import join_labels
from texthead.errors import DataError, TextheadError
from texthead.text import check_names

# The probability of each class (0-1), the most probable first.
Predictions = dict[str, float]


class FileToLabel(NamedTuple):
    """A file to label.

    Args:
        position: its index in the data.
        predictions: of all classes.
        labels: its current labels; None if it has not been labelled.
        why: the reason for a review.
    """

    position: int
    path: Path
    kind: str
    predictions: Predictions
    labels: tuple[str, ...] | None = None
    why: str = ""


class _Measured(NamedTuple):
    """What was measured with some labels.

    Attributes:
        curves: the accuracy with ever more labels.
        doubtful: by position, why a label looks wrong: the classes predicted from the other files, and the reason.
    """

    labels: LabelState = LabelState()
    curves: tuple[LearningCurve, ...] = ()
    doubtful: Mapping[int, tuple[Predictions, str]] = {}


class LabelSession:
    """Files with features, their labels on disk, and a model that is refitted after every label.

    The model is fitted in a background thread, so nobody waits for it: the next file is chosen with the latest finished
    fit. Everything else is for one thread at a time.

    Args:
        pool: the files. If they may have several labels, accuracy and doubtful labels are not estimated.
        labels_csv: the CSV of labels, to which no other program may write (`in_turn`).
    """

    def __init__(self, pool: Pool, labels_csv: Path):
        self.pool = pool
        self._file = LabelFile(labels_csv, pool.files, multilabel=pool.multilabel)
        join_labels(pool.names)  # Raises an error for a name that a CSV would divide.
        self._groups = pool.groups
        self._labels = pool.state(self._file.read())
        self._coverage = pool.similarities(list(self._labels.of))
        # What undo takes back: a file, its state before and after.
        self._done: list[tuple[int, Mark, Mark]] = []
        self._skipped: list[int] = []
        self._fit = pool.fit(self._labels)
        self._measured = _Measured()
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._fit_in_background, daemon=True)
        self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Stop the background thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    # ---- the model

    def _read(self) -> LabelState:
        """Return the current labels; if they have changed, also by hand, wake the background thread."""
        labels = self.pool.state(self._file.read())
        if labels != self._labels:
            self._labels = labels
            self._wake.set()
        return labels

    def _fit_in_background(self) -> None:
        """Fit after each label; measure accuracy when no new label has arrived meanwhile."""
        while self._wake.wait() and not self._closed:
            self._wake.clear()
            # A name that the text encoder refuses can come from a CSV edited by hand.
            with suppress(TextheadError):
                labels = self._labels
                if labels != self._fit.labels or self.pool.classes(labels) != self._fit.classes:
                    self._fit = self.pool.fit(labels)
                if not self._wake.is_set():
                    self._measured = _Measured(labels) if self.pool.multilabel else self._measure(self._fit)

    def _measure(self, fit: Fit) -> _Measured:
        labelled = list(fit.labels.of)
        features, targets = self.pool.features[labelled], self.pool.labelled(fit.labels).targets(fit.classes)
        groups = [self._groups[position] for position in labelled] if self._groups else None
        doubtful = dict[int, tuple[Predictions, str]]()
        curve = learning_curve(self.pool.rows(fit.classes), features, targets, classes=len(fit.classes), groups=groups)
        for label in suspicious_labels(features, targets, groups, labelled).listed:
            reason = label.comparison(fit.classes, *fit.labels.of[label.item])
            doubtful[label.item] = _sorted_predictions(fit.classes, torch.from_numpy(label.fits)), reason
        # Drop measurements with labels that have since been undone.
        before = [old for old in self._measured.curves if old.items < len(labelled)]
        return _Measured(fit.labels, () if curve is None else (*before, curve), doubtful)

    @property
    def is_fitted(self) -> bool:
        """Whether the model is fitted and measured on all current labels."""
        return self._fit.labels == self._measured.labels == self.pool.state(self._file.read())

    # ---- labelling

    def next_file(self) -> FileToLabel | None:
        """Return the most informative file without a label; skipped ones come last. None if no file is left."""
        labels = self._read()
        without = [*labels.of, *labels.bad, *self._skipped]
        chosen = self._coverage.suggest(self._fit.probabilities, list(labels.of), 1, without=without)
        chosen += [position for position in self._skipped if position not in {*labels.of, *labels.bad}]
        return self._file_to_label(chosen[0], labels) if chosen else None

    def _file_to_label(self, position: int, labels: LabelState) -> FileToLabel:
        """Return a file with its predictions, from a fit without it if its label is doubtful."""
        fit, own, item = self._fit, labels.of.get(position), self.pool.files.items[position]
        probabilities = fit.probabilities[[position]]
        if self._measured.curves:
            probabilities = self._measured.curves[-1].calibrated(probabilities)
        predictions, reason = _sorted_predictions(fit.classes, probabilities[0]), ""
        if position in self._measured.doubtful and own is not None:
            predictions, reason = self._measured.doubtful[position]
        classes = self.pool.classes(labels)  # Some may be newer than the fit.
        predictions = {name: predictions.get(name, 0.0) for name in (*predictions, *classes) if name in classes}
        return FileToLabel(position, item.path, item.media.reader.kind, predictions, own, reason)

    def label(self, position: int, *names: str, checked: bool = False) -> None:
        """Label a file and write the label to disk; a new name creates a class.

        Args:
            names: the class; for multi-label data, any number of classes.
            checked: whether the label was reviewed.

        Raises:
            DataError: the name is not a valid class.
            RunError: the label cannot be written.
        """
        labels = tuple(sorted({self._class_name(name) for name in names}))
        self._put(position, Mark(labels, checked=checked))

    def _class_name(self, name: str, instead_of: str | None = None) -> str:
        """Return a typed name with normalised spaces; raise DataError if it is not a valid class."""
        name = " ".join(name.split())
        classes = self.pool.classes(self._read())
        if name not in classes:
            check_names([*(each for each in classes if each != instead_of), name])
            join_labels([name])
            self.pool.rows([name])  # Raises if the text encoder cannot encode the name.
        return name

    def check_class(self, name: str) -> None:
        """Raise DataError if a class does not exist, such as one that another tab has renamed."""
        if name not in self.pool.classes(self._read()):
            raise DataError(f"no class {name!r}; reload the page")

    def bad(self, position: int) -> None:
        """Mark a file as bad, so that it is not shown again."""
        self._put(position, Mark(bad=True))

    def keep(self, position: int) -> None:
        """Confirm the label of a reviewed file; it is not reviewed again."""
        mark = self._read().mark(position)
        if mark.labels is not None:
            self._put(position, mark._replace(checked=True))

    def skip(self, position: int) -> None:
        """Skip a file until no other is left."""
        mark = self._read().mark(position)
        self._done.append((position, mark, mark))
        self._skipped = [index for index in self._skipped if index != position] + [position]

    def _put(self, position: int, mark: Mark) -> None:
        before = self._read().mark(position)
        self._file.put(self.pool.files.items[position].media, mark)
        self._done.append((position, before, self._read().mark(position)))

    def undo(self) -> FileToLabel | None:
        """Undo the last action and return its file; None if there is nothing to undo.

        What has been edited by hand since stays as it is.

        Raises:
            RunError: the labels cannot be written.
        """
        labels = self._read()
        while self._done and labels.mark(self._done[-1][0]) != self._done[-1][2]:
            self._done.pop()
        if not self._done:
            return None
        position, before, _ = self._done[-1]
        self._file.put(self.pool.files.items[position].media, before)
        self._done.pop()
        self._skipped = [index for index in self._skipped if index != position]
        labels = self._read()
        # Refit now, so that the predictions for this file don't come from its own label.
        self._fit = self.pool.fit(labels)
        return self._file_to_label(position, labels)

    def rename(self, old: str, new: str) -> None:
        """Rename a class, or merge it into another class; cannot be undone.

        Raises:
            DataError: the class does not exist, or the name is not a valid class.
            RunError: the labels cannot be written.
        """
        self.check_class(old)
        new = self._class_name(new, instead_of=old)
        if new == old:
            return

        def renamed(mark: Mark) -> Mark:
            labels = mark.labels and tuple(sorted({new if name == old else name for name in mark.labels}))
            return mark._replace(labels=labels)

        self._file.rename(old, new)
        names = dict.fromkeys(new if name == old else name for name in self.pool.names)
        self.pool = replace(self.pool, names=tuple(names))
        self._done = [(position, renamed(before), renamed(after)) for position, before, after in self._done]
        self._fit = self.pool.fit(self._read())

    # ---- review

    def review(self) -> FileToLabel | None:
        """Return the labelled file with the most doubtful label; None if none is left. Each is reviewed once."""
        labels = self._read()
        candidates = self._to_review(labels)
        return self._file_to_label(candidates[0], labels) if candidates else None

    def _to_review(self, labels: LabelState) -> list[int]:
        return [each for each in self._measured.doubtful if each in labels.of and each not in labels.checked]

    # ---- state

    def state(self) -> dict[str, Any]:
        """Return counts, accuracy and remaining work as JSON values."""
        labels, curves = self._read(), self._measured.curves
        counts, others = labels.counts, None
        done = {*labels.of, *labels.bad}
        unlabelled = [position for position in range(len(self.pool.files)) if position not in done]
        if curves and unlabelled:  # The mean calibrated confidence estimates the accuracy.
            others = 100 * float(curves[-1].calibrated(self._fit.probabilities[unlabelled]).amax(-1).mean())
        return {
            "files": len(self.pool.files),
            "labelled": len(labels.of),
            "bad": len(labels.bad),
            "multilabel": self.pool.multilabel,
            "classes": [{"name": name, "count": counts[name]} for name in self.pool.classes(labels)],
            "curve": [
                {"labels": curve.items, "top1": curve.top1, "low": curve.low, "high": curve.high} for curve in curves
            ],
            "others": others,
            "review": len(self._to_review(labels)),
            "undo": bool(self._done),
        }


def _sorted_predictions(classes: Sequence[str], probabilities: Float[Tensor, " classes"]) -> Predictions:
    order: list[int] = probabilities.argsort(descending=True, stable=True).tolist()
    return {classes[index]: float(probabilities[index]) for index in order}
