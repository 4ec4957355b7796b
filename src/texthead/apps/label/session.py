"""Labelling without a page: the next file for each person, its guesses, and the accuracy of the model."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead import Dataset
from texthead.apps.doctor import Facts, findings_about_files, read_facts, suspicious_labels
from texthead.apps.label.label_file import LabelFile, LabelState, Mark
from texthead.apps.label.labelling import Pool
from texthead.apps.label.learning_curve import LearningCurve, learning_curve
from texthead.apps.label.selection import guesses
from texthead.data import check_no_separator
from texthead.errors import DataError, TextheadError
from texthead.media import MediaPath
from texthead.text import check_names

# Maximum length of a typed class name, in characters.
LONGEST_NAME = 200


# The probability of each class (0-1), the most probable first.
Guesses = dict[str, float]


class FileToLabel(NamedTuple):
    """A file to label.

    Args:
        position: its index in the data.
        guesses: of all classes.
        labels: its current labels; None if it has not been labelled.
        why: the reason for a review.
    """

    position: int
    path: Path
    kind: str
    guesses: Guesses
    labels: tuple[str, ...] | None = None
    why: str = ""


class FittedLabels(NamedTuple):
    """A model fitted to some labels: its classes, and their probabilities for every file."""

    labels: LabelState
    classes: tuple[str, ...]
    probabilities: Float[Tensor, "files classes"]


@dataclass
class _Person:
    """A person's actions, for undo, and the files they skipped."""

    done: list[tuple[int, Mark, Mark]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)


class LabelSession:
    """Files with features, their labels on disk, and a model that is refitted after every label.

    Safe for several people at once. The model is fitted in a background thread, so nobody waits for it: the next file
    is chosen with the latest finished fit.

    Args:
        pool: the files. If they may have several labels, accuracy and doubtful labels are not estimated.
        labels_csv: the CSV of labels.
    """

    def __init__(self, pool: Pool, labels_csv: Path):
        self.pool = pool
        self.multilabel = pool.multilabel
        self.labels_csv = labels_csv
        self._file = LabelFile(labels_csv, pool.files, multilabel=pool.multilabel)
        self._names = list(pool.names)
        check_no_separator(pool.names)
        self._rows = dict[str, Tensor]()
        self._groups = pool.groups
        labels = self._file.read()
        self._coverage = pool.similarities(list(labels.of))
        self._people = defaultdict[str, _Person](_Person)
        self._turn = threading.RLock()
        self._wake, self._closed = threading.Event(), False
        self.curves: list[LearningCurve] = []
        # Why a label looks wrong: the classes predicted from the other files, and the reason in words.
        self._doubtful = dict[int, tuple[Guesses, str]]()
        self._facts = dict[int, Facts]()
        self._fit = self._fitted(labels)
        self._measured: LabelState | None = None
        self._thread = threading.Thread(target=self._fit_in_background, daemon=True)
        self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Stop the background thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    # ---- the model

    def classes(self, labels: LabelState) -> tuple[str, ...]:
        """Return the initial classes, then further classes of labels."""
        return tuple(dict.fromkeys([*self._names, *sorted(labels.counts)]))

    def _fitted(self, labels: LabelState) -> FittedLabels:
        classes = self.classes(labels)
        about = self._rows_of(classes), self.pool.features, list(labels.of), self._items(labels).targets(classes)
        return FittedLabels(labels, classes, guesses(*about, classes=len(classes)))

    def _items(self, labels: LabelState) -> Dataset:
        """Return the labelled files."""
        items = (replace(self.pool.files.items[position], labels=own) for position, own in labels.of.items())
        return Dataset(tuple(items), multilabel=self.multilabel)

    def _rows_of(self, classes: Sequence[str]) -> Float[Tensor, "classes dim"] | None:
        if self.pool.encode is None or not classes:
            return None
        new = [name for name in classes if name not in self._rows]
        if new:
            self._rows |= dict(zip(new, self.pool.encode(new), strict=True))
        return torch.stack([self._rows[name] for name in classes])

    def _fit_in_background(self) -> None:
        """Fit after each label; measure accuracy when no new label has arrived meanwhile."""
        while self._wake.wait() and not self._closed:
            self._wake.clear()
            # A CSV broken by hand is reported by the next request; fitting resumes once it is fixed.
            with suppress(TextheadError):
                labels = self._file.read()
                if labels != self._fit.labels or self.classes(labels) != self._fit.classes:
                    self._fit = self._fitted(labels)
                if not self._wake.is_set():
                    self._measure(self._fit)

    def _measure(self, fit: FittedLabels) -> None:
        if self.multilabel:
            self._measured = fit.labels
            return
        labelled = list(fit.labels.of)
        targets = self._items(fit.labels).targets(fit.classes)
        groups = [self._groups[position] for position in labelled] if self._groups else None
        curve = learning_curve(
            self._rows_of(fit.classes),
            self.pool.features[labelled],
            targets,
            classes=len(fit.classes),
            groups=groups,
        )
        judged = suspicious_labels(self.pool.features[labelled], targets, groups)
        doubts: dict[int, tuple[Guesses, str]] = {}
        for label in judged.listed:
            position = labelled[label.item]
            reason = label.comparison(fit.classes, *fit.labels.of[position])
            doubts[position] = _sorted_guesses(fit.classes, torch.from_numpy(label.fits)), reason
        with self._turn:
            # Drop measurements with labels that have since been undone.
            before = [old for old in self.curves if old.items < len(labelled)]
            self.curves = [] if curve is None else [*before, curve]
            self._doubtful = doubts
            self._measured = fit.labels

    @property
    def is_fitted(self) -> bool:
        """Whether the model is fitted and measured on all current labels."""
        return self._fit.labels == self._measured == self._file.read()

    # ---- labelling

    def path(self, position: int) -> Path:
        """Return the path of the file at a position.

        Raises:
            DataError: there is none.
        """
        items = self.pool.files.items
        if not 0 <= position < len(items):
            raise DataError(f"no file {position}; the data has {len(items)}. Reload the page")
        return items[position].path

    def next(self, who: str) -> FileToLabel | None:
        """Return the file this person has open, or else the most informative file that nobody else has open.

        Skipped files come last. Returns None if no file is left.
        """
        with self._turn:
            person, labels = self._people[who], self._file.read()
            claims = self._file.claims()
            taken = {*labels.of, *labels.bad, *(position for position, name in claims.items() if name != who)}
            claimed = next((position for position, name in claims.items() if name == who), None)
            if claimed is not None and claimed not in {*taken, *person.skipped}:
                return self._file_to_label(claimed, labels)
            while True:
                candidates = (
                    self._coverage.next(self._fit.probabilities, list(labels.of), 1, without=[*taken, *person.skipped])
                    or [position for position in person.skipped if position not in taken][:1]
                )
                if not candidates:
                    self._file.claim(who, None)
                    return None
                if self._file.claim(who, candidates[0]):
                    return self._file_to_label(candidates[0], labels)
                taken.add(candidates[0])

    def _file_to_label(self, position: int, labels: LabelState) -> FileToLabel:
        """Return a file with its guesses, from a fit without it if its label is doubtful."""
        fit, path, own = self._fit, self.path(position), labels.of.get(position)
        probabilities = fit.probabilities[[position]]
        if self.curves:
            probabilities = self.curves[-1].calibrated(probabilities)
        guesses, reasons = _sorted_guesses(fit.classes, probabilities[0]), list[str]()
        if position in self._doubtful and own is not None:
            guesses, reason = self._doubtful[position]
            reasons.append(reason)
        if own is not None:
            reasons += filter(None, [self._findings(labels).get(position)])
        classes = self.classes(labels)  # Some may be newer than the fit.
        guesses = {name: guesses.get(name, 0.0) for name in (*guesses, *classes) if name in classes}
        kind, why = MediaPath(path).reader.kind, "; ".join(reasons)
        return FileToLabel(position, path, kind, guesses, own, why)

    def label(self, who: str, position: int, *names: str, checked: bool = False) -> None:
        """Label a file and write the label to disk; a new name creates a class.

        Args:
            names: the class; with several labels, any number of classes.
            checked: whether the label was reviewed.

        Raises:
            DataError: the file does not exist, or the name is not a valid class.
            RunError: the label cannot be written.
        """
        with self._turn:
            labels = tuple(sorted({self._class_name(name) for name in names}))
            self._put(who, position, Mark(labels, checked=checked))

    def _class_name(self, name: str, instead_of: str | None = None) -> str:
        """Return a typed name with normalised spaces; raise DataError if it is not a valid class."""
        name = " ".join(name.split())
        if len(name) > LONGEST_NAME:
            raise DataError(
                f"class name {name[:50]!r}... has {len(name)} characters, the limit is {LONGEST_NAME}; shorten it"
            )
        classes = self.classes(self._file.read())
        if name not in classes:
            check_names([*(each for each in classes if each != instead_of), name])
            check_no_separator([name])
            self._rows_of([name])  # Raises if the text encoder cannot encode the name.
        return name

    def bad(self, who: str, position: int) -> None:
        """Mark a file as bad, so that it is not shown again."""
        self._put(who, position, Mark(bad=True))

    def keep(self, who: str, position: int) -> None:
        """Confirm the label of a reviewed file; it is not reviewed again."""
        with self._turn:
            before = self._mark_of(position)
            if before.labels is not None:
                self._put(who, position, before._replace(checked=True))

    def skip(self, who: str, position: int) -> None:
        """Skip a file until no other is left for this person."""
        with self._turn:
            person = self._people[who]
            mark = self._mark_of(position)
            person.done.append((position, mark, mark))
            person.skipped = [index for index in person.skipped if index != position] + [position]

    def _mark_of(self, position: int) -> Mark:
        self.path(position)  # Raises if there is none.
        return self._file.read().mark(position)

    def _put(self, who: str, position: int, mark: Mark) -> None:
        with self._turn:
            before = self._mark_of(position)
            self._file.put(position, mark)
            self._people[who].done.append((position, before, self._mark_of(position)))
        self._wake.set()

    def undo(self, who: str) -> FileToLabel | None:
        """Undo this person's last action and return its file; None if there is nothing to undo.

        What somebody else changed after it stays, and the action before is undone.

        Raises:
            RunError: the labels cannot be written.
        """
        with self._turn:
            person = self._people[who]
            while person.done and self._mark_of(person.done[-1][0]) != person.done[-1][2]:
                person.done.pop()
            if not person.done:
                return None
            position, before, _ = person.done.pop()
            person.skipped = [index for index in person.skipped if index != position]
            labels = self._file.put(position, before)
            self._file.claim(who, position)
            # Refit now, so that the guesses for this file don't come from its own label.
            self._fit = self._fitted(labels)
            self._wake.set()
            return self._file_to_label(position, labels)

    def rename(self, old: str, new: str) -> None:
        """Rename a class, or merge it into another class; cannot be undone.

        Raises:
            DataError: the class does not exist, or the name is not a valid class.
            RunError: the labels cannot be written.
        """
        with self._turn:
            if old not in self.classes(self._file.read()):
                raise DataError(f"no class {old!r}; reload the page")
            new = self._class_name(new, instead_of=old)
            if new == old:
                return
            labels = self._file.rename(old, new)
            self._names = [*dict.fromkeys(new if name == old else name for name in self._names)]
            for person in self._people.values():
                person.done = [
                    (index, before, labels.mark(index) if old in (after.labels or ()) else after)
                    for index, before, after in person.done
                    if old not in (before.labels or ())
                ]
            self._fit = self._fitted(labels)
        self._wake.set()

    # ---- review

    def review(self, who: str) -> FileToLabel | None:
        """Return the labelled file with the most doubtful label, or else one with a finding of doctor.

        Each file is reviewed once, by one person. Returns None if none is left.
        """
        with self._turn:
            labels = self._file.read()
            claims = self._file.claims()
            for position in self._to_review(labels):
                if claims.get(position, who) == who:
                    self._file.claim(who, position)
                    return self._file_to_label(position, labels)
            return None

    def _to_review(self, labels: LabelState) -> list[int]:
        candidates = dict.fromkeys([*self._doubtful, *self._findings(labels)])
        return [position for position in candidates if position in labels.of and position not in labels.checked]

    def _findings(self, labels: LabelState) -> dict[int, str]:
        """Return what doctor finds about examined files with these labels, by position."""
        facts = {position: facts for position, facts in self._facts.items() if position in labels.of}
        items = [replace(self.pool.files.items[position], labels=labels.of[position]) for position in facts]
        findings, positions = findings_about_files(items, list(facts.values())), list(facts)
        return {positions[i]: f"{finding.fault}: {finding.detail}" for finding in findings for i in finding.items}

    def examine(self) -> None:
        """Read new labelled files like `doctor`, to find unreadable ones, one colour, and copies with two labels."""
        new = [position for position in sorted(self._file.read().of) if position not in self._facts]
        files = self.pool.files.pick(new)
        stills = self.pool.frozen.stills(files.paths) if self.pool.frozen else ()
        facts = read_facts(files, workers=1, stills=stills)
        with self._turn:
            self._facts = dict(sorted([*self._facts.items(), *zip(new, facts, strict=True)]))

    # ---- state

    def state(self, who: str) -> dict[str, Any]:
        """Return counts, accuracy and remaining work as JSON values."""
        with self._turn:
            labels = self._file.read()
            if labels != self._fit.labels:
                self._wake.set()
            counts = labels.counts
            return {
                "files": len(self.pool.files),
                "labelled": len(labels.of),
                "bad": len(labels.bad),
                "multilabel": self.multilabel,
                "classes": [{"name": name, "count": counts[name]} for name in self.classes(labels)],
                "curve": [
                    {"labels": curve.items, "top1": curve.top1, "low": curve.low, "high": curve.high}
                    for curve in self.curves
                ],
                "gain": _gain(self.curves[-1]) if self.curves and self.curves[-1].items == len(labels.of) else None,
                "others": self._others(labels),
                "review": len(self._to_review(labels)),
                "undo": who in self._people and bool(self._people[who].done),
            }

    def _others(self, labels: LabelState) -> float | None:
        """Return the estimated accuracy on unlabelled files in percent: the mean calibrated confidence."""
        done = {*labels.of, *labels.bad}
        unlabelled = [position for position in range(len(self.pool.files)) if position not in done]
        if not (self.curves and unlabelled):
            return None
        return 100 * float(self.curves[-1].calibrated(self._fit.probabilities[unlabelled]).amax(-1).mean())

    def renew(self, who: str, position: int) -> None:
        """Renew this person's claim on the file they have open."""
        self.path(position)  # Raises if there is none.
        self._file.renew(who, position)


def _gain(curve: LearningCurve) -> dict[str, Any]:
    return {"more": curve.more, "points": curve.gain, "low": curve.least_gain, "high": curve.most_gain}


def _sorted_guesses(classes: Sequence[str], probabilities: Float[Tensor, " classes"]) -> Guesses:
    order: list[int] = probabilities.argsort(descending=True, stable=True).tolist()
    return {classes[index]: float(probabilities[index]) for index in order}
