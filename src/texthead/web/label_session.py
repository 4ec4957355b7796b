"""Labelling, without a page: which file comes next for whom, what it is taken for, and what the labels are worth."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.dataset import Dataset
from texthead.doctor import findings as doctor
from texthead.doctor import near_duplicates
from texthead.doctor.facts import read_facts
from texthead.errors import DataError, TextheadError
from texthead.media.open import kind_of
from texthead.text.class_names import check_names
from texthead.transfer.label_file import LabelFile, Labels, Mark
from texthead.transfer.labelling import Pool
from texthead.transfer.learning_curve import LearningCurve, learning_curve
from texthead.transfer.selection import Coverage, guesses

# Characters of a class name that is typed.
LONGEST_NAME = 200

# A file that takes longer to be read is at fault.
READ_SECONDS = 60.0


class Guess(NamedTuple):
    """A class and how probable it is, 0-1."""

    name: str
    probability: float


Guesses = tuple[Guess, ...]


class Shown(NamedTuple):
    """A file to be labelled: where it stands in the data, what it is taken for, its label so far, and why it is shown.

    Args:
        guesses: all classes, the most probable first.
    """

    position: int
    path: Path
    kind: str
    guesses: Guesses
    label: str | None = None
    why: str = ""


class Fit(NamedTuple):
    """What is known from some labels: the classes, and the probability of each for every file."""

    labels: Labels
    classes: tuple[str, ...]
    probabilities: Float[Tensor, "files classes"]


class _Person:
    """What somebody did here, to be taken back, and what they put off."""

    def __init__(self) -> None:
        self.done: list[tuple[int, Mark]] = []
        self.skipped: list[int] = []


class LabelSession:
    """Files with features, their labels on disk, and a model of them that is fitted again after every label.

    Several people may ask at once. The model is fitted in a thread of its own, so nobody waits for it: the next file is
    chosen by the newest fit that is there.

    Args:
        names: the classes to begin with.
        encode: text rows of some classes; None of an encoder without text.
        place: the CSV of labels.
    """

    def __init__(
        self,
        pool: Pool,
        names: Sequence[str],
        encode: Callable[[list[str]], Float[Tensor, "classes dim"]] | None,
        place: Path,
        *,
        seed: int = 0,
    ):
        self.pool = pool
        self.place = place
        self._file = LabelFile(place, pool.files)
        self._names = list(names)
        self._encode, self._rows = encode, dict[str, Tensor]()
        self._seed = seed
        self._groups = pool.groups
        labels = self._file.read()
        self._coverage = Coverage(pool.features, list(labels.of), groups=self._groups, seed=seed)
        self._people = defaultdict[str, _Person](_Person)
        self._turn = threading.RLock()
        self._wake, self._closed = threading.Event(), False
        self.curves: list[LearningCurve] = []
        self._findings, self._doubted = dict[int, str](), dict[int, Guesses]()
        self._checked: set[int] = set()
        self._fit = self._fitted(labels)
        self._curved: tuple[int, ...] = ()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """End the thread that fits."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    # ---- the model

    def classes(self, labels: Labels) -> tuple[str, ...]:
        """Return those to begin with, then those of labels."""
        return tuple(dict.fromkeys([*self._names, *sorted(set(labels.of.values()))]))

    def _fitted(self, labels: Labels) -> Fit:
        classes = self.classes(labels)
        known = list(labels.of)
        targets = torch.tensor([classes.index(labels.of[position]) for position in known], dtype=torch.long)
        rows = self._rows_of(classes)
        return Fit(labels, classes, guesses(rows, self.pool.features, known, targets, classes=len(classes)))

    def _rows_of(self, classes: Sequence[str]) -> Float[Tensor, "classes dim"] | None:
        if self._encode is None or not classes:
            return None
        new = [name for name in classes if name not in self._rows]
        if new:
            self._rows |= dict(zip(new, self._encode(new), strict=True))
        return torch.stack([self._rows[name] for name in classes])

    def _follow(self) -> None:
        """Fit after each label, and measure what the labels are worth where nobody labels meanwhile."""
        while self._wake.wait() and not self._closed:
            self._wake.clear()
            # A list that somebody broke by hand: whoever asks next is told, and the next that is whole is fitted.
            with suppress(TextheadError):
                labels = self._file.read()
                if labels != self._fit.labels or self.classes(labels) != self._fit.classes:
                    self._fit = self._fitted(labels)
                if not self._wake.is_set():
                    self._measure(self._fit)

    def _measure(self, fit: Fit) -> None:
        known = list(fit.labels.of)
        targets = torch.tensor([fit.classes.index(fit.labels.of[position]) for position in known], dtype=torch.long)
        groups = [self._groups[position] for position in known] if self._groups else None
        curve = learning_curve(
            self._rows_of(fit.classes),
            self.pool.features[known],
            targets,
            classes=len(fit.classes),
            groups=groups,
            seed=self._seed,
        )
        with self._turn:
            # Labels that were taken back leave nothing of what they said.
            before = [old for old in self.curves if old.items < len(known)]
            self.curves = [] if curve is None else [*before, curve]
            self._doubted = {} if curve is None else self._doubts(fit, curve, known)
            self._curved = tuple(known)

    def _doubts(self, fit: Fit, curve: LearningCurve, known: Sequence[int]) -> dict[int, Guesses]:
        """Return what a fit without it takes each file for whose label it doubts; the surest first.

        The only label of a class is not among them: without it there is no such class.
        """
        counts = Counter(fit.labels.of.values())
        found = curve.calibrated(curve.probabilities)
        sure = found.amax(-1)
        doubted: dict[int, Guesses] = {}
        for row in sure.argsort(descending=True).tolist():
            guessed, label = _sorted_guesses(fit.classes, found[row]), fit.labels.of[known[row]]
            if guessed[0].name != label and counts[label] > 1:
                doubted[known[row]] = guessed
        return doubted

    @property
    def is_fitted(self) -> bool:
        """Whether the model knows all labels, and what they are worth is measured."""
        labels = self._file.read()
        return self._fit.labels == labels and set(self._curved) == set(labels.of)

    # ---- one file after the other

    def next(self, who: str) -> Shown | None:
        """Return the file that this person has open, or else the one that would teach most and that nobody else has.

        Files that were skipped come last; None where none is left.
        """
        with self._turn:
            person, labels = self._people[who], self._file.read()
            gone = {*labels.of, *labels.bad, *self._file.claimed_by_others(who)}
            own = self._file.claimed_by(who)
            if own is not None and own not in {*gone, *person.skipped}:
                return self._shown(own, labels)
            while True:
                found = (
                    self._coverage.next(self._fit.probabilities, list(labels.of), 1, without=[*gone, *person.skipped])
                    or [position for position in person.skipped if position not in gone][:1]
                )
                if not found:
                    self._file.claim(who, None)
                    return None
                if self._file.claim(who, found[0]):
                    return self._shown(found[0], labels)
                gone.add(found[0])

    def _shown(self, position: int, labels: Labels) -> Shown:
        """Return a file with its guesses: by a fit without it, if its label is doubted."""
        fit, path, label = self._fit, self.pool.files.items[position].path, labels.of.get(position)
        why: list[str] = []
        if position in self._doubted and label is not None:
            guesses = self._doubted[position]
            why.append(f"a fit without this file says {guesses[0].name}, {100 * guesses[0].probability:.0f} %")
        else:
            found = fit.probabilities[position : position + 1]
            guesses = _sorted_guesses(fit.classes, (self.curves[-1].calibrated(found) if self.curves else found)[0])
        if position in self._findings and label is not None:
            why.append(self._findings[position])
        classes = self.classes(labels)
        unfitted = [Guess(name, 0.0) for name in classes if name not in {guess.name for guess in guesses}]
        kept = [guess for guess in guesses if guess.name in classes]
        return Shown(position, path, kind_of(path), (*kept, *unfitted), label, "; ".join(why))

    def label(self, who: str, position: int, name: str, *, checked: bool = False) -> None:
        """Give a file its label, on disk when this returns; a new name is a new class.

        Args:
            checked: it is a label that was looked at again.

        Raises:
            DataError: no such file, or a name that cannot be a class.
            RunError: the label cannot be written.
        """
        with self._turn:
            self._put(who, position, Mark(self._class_name(name), checked=checked))

    def _class_name(self, name: str) -> str:
        """Return a name that somebody typed, if it can be a class."""
        name = " ".join(name.split())
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise DataError(f"class name {name[:50]!r}: use at most {LONGEST_NAME} characters that can be printed")
        classes = self.classes(self._file.read())
        if name not in classes:
            check_names([*classes, name])
            self._rows_of([name])  # A name that the text encoder cannot read is no class.
        return name

    def bad(self, who: str, position: int) -> None:
        """Note that a file cannot be used; it is not shown again."""
        with self._turn:
            self._put(who, position, Mark(bad=True))

    def keep(self, who: str, position: int) -> None:
        """Leave the label of a file that was looked at again as it is; nobody is asked about it any more."""
        with self._turn:
            before = self._known(position)
            if before.label is not None:
                self._put(who, position, before._replace(checked=True))

    def skip(self, who: str, position: int) -> None:
        """Put a file off until no other is left for this person."""
        with self._turn:
            person = self._people[who]
            person.done.append((position, self._known(position)))
            person.skipped = [place for place in person.skipped if place != position] + [position]

    def _known(self, position: int) -> Mark:
        if not 0 <= position < len(self.pool.files):
            raise DataError(f"no file {position}: the data has {len(self.pool.files)}; load the page again")
        return self._file.read().mark(position)

    def _put(self, who: str, position: int, mark: Mark) -> None:
        before = self._known(position)
        self._file.put(position, mark)
        self._people[who].done.append((position, before))
        self._wake.set()

    def undo(self, who: str) -> Shown | None:
        """Take back the last thing that this person did, and show its file again; None where there is nothing.

        Raises:
            RunError: it cannot be written.
        """
        with self._turn:
            person = self._people[who]
            if not person.done:
                return None
            position, before = person.done.pop()
            person.skipped = [place for place in person.skipped if place != position]
            labels = self._file.put(position, before)
            self._file.claim(who, position)
            # What was learned from it must not be guessed.
            self._fit = self._fitted(labels)
            self._wake.set()
            return self._shown(position, labels)

    def rename(self, old: str, new: str) -> None:
        """Give a class another name, or join it with another class; this cannot be taken back.

        Raises:
            DataError: no such class, or a name that cannot be one.
            RunError: it cannot be written.
        """
        with self._turn:
            if old not in self.classes(self._file.read()):
                raise DataError(f"no class {old!r}: load the page again")
            self._file.rename(old, self._class_name(new))
            self._names = [name for name in self._names if name != old]
            for person in self._people.values():
                person.done = [(place, mark) for place, mark in person.done if mark.label != old]
            self._fit = self._fitted(self._file.read())
        self._wake.set()

    # ---- looking again

    def review(self, who: str) -> Shown | None:
        """Return the labelled file whose label the model doubts most, or else one that doctor finds at fault.

        Each is shown once to all together; None where none is left.
        """
        with self._turn:
            labels = self._file.read()
            others = self._file.claimed_by_others(who)
            for position in self._to_review(labels):
                if position not in others:
                    self._file.claim(who, position)
                    return self._shown(position, labels)
            return None

    def _to_review(self, labels: Labels) -> list[int]:
        found = dict.fromkeys([*self._doubted, *self._findings])
        return [position for position in found if position in labels.of and position not in labels.checked]

    def examine(self) -> None:
        """Look for faults of the labelled files, as `doctor` does: unreadable, of one colour, copies of two labels."""
        labels = self._file.read()
        known = sorted(labels.of)
        if set(known) == self._checked:
            return
        items = tuple(replace(self.pool.files.items[place], label=labels.of[place]) for place in known)
        facts = read_facts(
            Dataset(items, str(self.place)), workers=1, seconds=READ_SECONDS, most_megapixels=self.pool.most_megapixels
        )
        features = dict(enumerate(self.pool.features[known].numpy()))
        alike = near_duplicates.alike(facts, features)
        alone = [found for found in doctor.file_findings(facts, frames=1) if found.severity != "note"]
        together = [*doctor.copies(items, facts), *doctor.near_copies(items, facts, alike)]
        found = [*alone, *(each for each in together if each.severity == "serious")]
        with self._turn:
            self._checked = set(known)
            self._findings = {
                known[place]: f"{finding.fault}: {finding.detail}" for finding in found for place in finding.items
            }

    # ---- what is known so far

    def state(self, who: str) -> dict[str, Any]:
        """Return counts, accuracy and what is left, as JSON values."""
        with self._turn:
            labels = self._file.read()
            if labels != self._fit.labels:
                self._wake.set()
            counts = Counter(labels.of.values())
            return {
                "files": len(self.pool.files),
                "labelled": len(labels.of),
                "bad": len(labels.bad),
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

    def _others(self, labels: Labels) -> float | None:
        """Return how many percent of the files without a label are named rightly: the mean calibrated confidence."""
        gone = {*labels.of, *labels.bad}
        left = [position for position in range(len(self.pool.files)) if position not in gone]
        if not (self.curves and left):
            return None
        return 100 * float(self.curves[-1].calibrated(self._fit.probabilities[left]).amax(-1).mean())

    def renew(self, who: str, position: int) -> None:
        """Keep a file that somebody is still looking at."""
        if 0 <= position < len(self.pool.files):
            self._file.renew(who, position)


def _gain(curve: LearningCurve) -> dict[str, Any]:
    return {"more": curve.more, "points": curve.gain, "low": curve.least_gain, "high": curve.most_gain}


def _sorted_guesses(classes: Sequence[str], probabilities: Float[Tensor, " classes"]) -> Guesses:
    order = probabilities.argsort(descending=True, stable=True)
    return tuple(Guess(classes[int(place)], float(probabilities[place])) for place in order)
