"""Findings about a dataset, from the facts of its files and its class names. Reads no files."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from scipy.cluster.hierarchy import DisjointSet

from texthead import Dataset, Item
from texthead.apps.doctor.file_stats import STOPPED, FileStats
from texthead.apps.doctor.near_duplicates import Alike
from texthead.apps.doctor.wrong_labels import MIN_AGREEMENT, JudgedLabels
from texthead.errors import Fault, listed, plural
from texthead.text import clean_name

Severity = Literal["serious", "warning"]

UNREADABLE = frozenset((*get_args(Fault), STOPPED))

# Least brightness and contrast, in grey levels from 0 to 255.
_BLACK, _PLAIN = 32.0, 0.5

# Largest ratio of class sizes.
_IMBALANCE = 10.0

# Words without content of their own, as in "class 12" and "video_001".
_EMPTY_WORDS = {"action", "category", "class", "clip", "cls", "id", "idx", "image", "img", "item", "label", "no", "nr"}
_EMPTY_WORDS |= {"number", "object", "type", "vid", "video"}

_WORDS = re.compile(r"[^\W\d_]{2,}")

_LAST_LATIN = 0x24F


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        fault: kind of problem.
        about: path or class name.
        detail: the value and what to do.
        items: positions of the items concerned.
    """

    severity: Severity
    fault: str
    about: str
    detail: str
    items: tuple[int, ...] = ()


# ---- single files


def file_findings(facts: Sequence[FileStats]) -> Iterator[Finding]:
    """Yield problems of single files."""
    for position, fact in enumerate(facts):
        if fact.fault:
            detail = fact.problem.removeprefix(f"{fact.fault}: ")
            yield Finding("serious", fact.fault, str(fact.path), detail, (position,))
        elif fact.brightest < _BLACK or fact.contrast < _PLAIN:
            levels = f"hardly any pixel is above {fact.brightest:.0f} of 255, grey levels differ by {fact.contrast:.1f}"
            detail = f"{levels}; remove the file if it shows nothing"
            yield Finding("warning", "black or one colour", str(fact.path), detail, (position,))


# ---- pairs and groups of files


def copies(items: Sequence[Item], facts: Sequence[FileStats]) -> Iterator[Finding]:
    """Yield files with the same bytes: in one class, under two labels, or in two splits."""
    for digest, group in _by_digest(facts).items():
        if not digest or len(group) == 1:
            continue
        about, others, labels, splits = _describe(items, group)
        if len(labels) > 1:
            yield Finding("serious", "one file, two labels", about, _two_labels(items, group), tuple(group))
        elif len(splits) > 1:
            detail = f"in {' and '.join(splits)}; same bytes as {others}; keep it in one split"
            yield Finding("serious", "leak", about, detail, tuple(group))
        else:
            yield Finding("warning", "exact duplicate", about, f"same bytes as {others}; keep one", tuple(group))


def _by_digest(facts: Sequence[FileStats]) -> dict[str, list[int]]:
    """Return the positions of the files with the same bytes."""
    positions = defaultdict[str, list[int]](list)
    for position, fact in enumerate(facts):
        positions[fact.digest].append(position)
    return positions


def _describe(items: Sequence[Item], group: Sequence[int]) -> tuple[str, str, list[str], list[str]]:
    """Return (first path of a group, other paths as text, labels, splits)."""
    first, *others = (str(items[position].path) for position in group)
    labels = sorted({items[position].label or "no label" for position in group})
    return first, listed(others, 3), labels, sorted({str(items[position].split) for position in group})


def _two_labels(items: Sequence[Item], group: Sequence[int]) -> str:
    """Return what is wrong with the first of some copies, which have two labels."""
    _, others, labels, _ = _describe(items, group)
    return f"labelled {' and '.join(labels)}; same bytes as {others}; keep one label"


def near_copies(items: Sequence[Item], facts: Sequence[FileStats], pairs: Alike) -> Iterator[Finding]:
    """Yield groups of files with different bytes that look alike; they are leaks if a sure pair is in two splits.

    Parts of one file in one split naturally look alike and are ignored. A pair stands for the exact copies of its files
    too.
    """
    same, connected = _by_digest(facts), DisjointSet([fact.digest for fact in facts])
    near: list[tuple[int, int]] = []
    for pair in sorted(pairs):
        a, b = (items[position] for position in pair)
        parts = a.split == b.split and (a.media.is_part or b.media.is_part) and a.media.file == b.media.file
        if not parts and facts[pair[0]].digest != facts[pair[1]].digest:
            near.append(pair)
            connected.merge(*(facts[position].digest for position in pair))
    groups = defaultdict[str, list[tuple[int, int]]](list)
    for pair in near:
        groups[connected[facts[pair[0]].digest]].append(pair)
    for own in groups.values():
        members = {pair: [other for position in pair for other in same[facts[position].digest]] for pair in own}
        group = sorted({position for positions in members.values() for position in positions})
        about, others, labels, splits = _describe(items, group)
        labelled = f"; labels {', '.join(labels)}" if len(labels) > 1 else ""
        where = f" in {' and '.join(splits)}" if len(splits) > 1 else ""
        remedy = "check which label is right" if len(labels) > 1 else "keep one if they show the same"
        severity: Severity = "warning"
        # In one split only a warning: classes filmed in the same place also look alike to an encoder.
        fault = "near duplicate, two labels" if len(labels) > 1 else "near duplicate"
        if any(pairs[pair].sure and len({items[each].split for each in members[pair]}) > 1 for pair in own):
            severity, fault = "serious", "near leak"
        elif len(splits) > 1:
            fault = "may be a near leak"
        detail = f"looks like {others}{where} ({pairs[own[0]].words}{labelled}); {remedy}"
        yield Finding(severity, fault, about, detail, tuple(group))


def group_leaks(items: Sequence[Item]) -> Iterator[Finding]:
    """Yield groups in more than one split; the parts of a file form a group if the data names none."""
    splits = defaultdict[tuple[bool, str], set[str]](set)
    for item in items:
        if item.split and (item.group or item.media.is_part):
            splits[item.group is not None, item.group_key].add(item.split)
    for (named, group), own in splits.items():
        if len(own) > 1:
            severity, fault = ("serious", "group in two splits") if named else ("warning", "parts in two splits")
            yield Finding(severity, fault, group, f"has items in {' and '.join(sorted(own))}; put all in one split")


# ---- classes


def count_findings(items: Sequence[Item]) -> Iterator[Finding]:
    """Yield classes with few training items. Items without a split count as training items."""
    train = Counter(item.label for item in items if item.split in (None, "train"))
    for label, count in sorted(train.items()):
        if count == 1:
            yield Finding("warning", "one training item", label, "none is left to hold out; add some")
        elif max(train.values()) > _IMBALANCE * count:
            largest = train.most_common(1)[0]
            detail = f"{plural(count, 'item')}, {largest[0]} has {largest[1]:,}; add some, or train on K per class"
            yield Finding("warning", "imbalance", label, detail)


def name_findings(classes: Iterable[str]) -> Iterator[Finding]:
    """Yield problems of class names."""
    for label in classes:
        # `n01440764`, `v_001`, `class 12` and `7`, but not `A` and `TV`.
        has_digit = any(character.isdigit() for character in label)
        if has_digit and {word.lower() for word in _WORDS.findall(clean_name(label))} <= _EMPTY_WORDS:
            yield Finding("serious", "code instead of a name", label, "set `labels` to a CSV of id,name")
        if any(character.isalpha() and ord(character) > _LAST_LATIN for character in label):
            remedy = "most text encoders know only Latin letters; translate it"
            yield Finding("warning", "non-Latin letters", label, remedy)


def label_findings(dataset: Dataset, judged: JudgedLabels, known: set[int]) -> tuple[list[Finding], str]:
    """Return a finding for each listed label, and a note on the most suspicious label if none is listed.

    Args:
        known: positions of items whose label a finding already questions, as that of a copy with another label.
    """
    result = list[Finding]()
    for label in judged.listed:
        if label.item not in known:
            item = dataset.items[label.item]
            fits = label.comparison(dataset.classes, item.label)
            detail = f"is labelled {item.label}, but {fits}; check which is right"
            result.append(Finding("warning", "label may be wrong", str(item.path), detail, (label.item,)))
    if judged.listed or not judged.ranked or judged.agreement < MIN_AGREEMENT:
        return result, ""
    for label in judged.ranked:
        if label.item not in known and label.fits.argmax() == label.better:
            path, better = dataset.items[label.item].path, dataset.classes[label.better]
            return result, f"no label is wrong beyond doubt; check {path} first (fits {better})"
    return result, "no label looks wrong: each item fits its own class best"


# ---- cleaned lists


def left_out(items: Sequence[Item], findings: Sequence[Finding]) -> dict[int, str]:
    """Return the items to leave out of a cleaned list, by position, with the reason.

    Left out are unreadable files; all copies of a file under two labels; all but one of other copies; and files that
    look like one in another split. The copy to keep is a test item if there is one, because results are compared on
    the test split.
    """
    reasons: dict[int, str] = {}
    for finding in findings:
        if finding.fault in UNREADABLE:
            reasons[finding.items[0]] = f"{finding.fault}: {finding.detail}"
    order = ("test", "val", "train", None)
    for finding in findings:
        if finding.fault == "one file, two labels":
            for position in finding.items:  # First, as the reason names the others.
                group = sorted(finding.items, key=lambda each: each != position)
                reasons[position] = f"{finding.fault}: {_two_labels(items, group)}"
        elif finding.fault in ("leak", "near leak", "exact duplicate"):
            remaining = [position for position in finding.items if position not in reasons]
            remaining.sort(key=lambda position: order.index(items[position].split))
            copied = finding.fault in ("leak", "exact duplicate")
            for position in remaining[1:]:
                if copied or items[position].split != items[remaining[0]].split:
                    reasons[position] = f"{finding.fault}: {items[remaining[0]].path} is kept"
    return dict(sorted(reasons.items()))
