"""Findings about a dataset, from the facts of its files and its class names. Reads no files."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from scipy.cluster.hierarchy import DisjointSet

from texthead import Dataset, Item
from texthead.apps.doctor.file_stats import STOPPED, FileStats
from texthead.apps.doctor.near_duplicates import Alike
from texthead.apps.doctor.wrong_labels import MIN_AGREEMENT, JudgedLabels
from texthead.errors import Fault, plural
from texthead.media import MediaPath
from texthead.text import clean_name, mirrored_names

Severity = Literal["serious", "warning", "note"]

UNREADABLE = frozenset((*get_args(Fault), STOPPED))

# Thresholds for brightness, contrast and motion, in grey levels from 0 to 255.
_BLACK = 32.0

_PLAIN = 0.5

_STILL = 0.1

# Share of uneven gaps between frames.
_UNEVEN_SHARE = 0.01

# Shortest side in pixels, and largest aspect ratio.
_TINY, _LONG = 32, 4.0

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


def file_findings(facts: Sequence[FileStats], *, frames: int) -> Iterator[Finding]:
    """Yield problems of single files.

    Args:
        frames: frames per clip; shorter videos repeat frames.
    """
    for position, fact in enumerate(facts):

        def found(severity: Severity, fault: str, detail: str, position: int = position) -> Finding:
            return Finding(severity, fault, str(facts[position].path), detail, (position,))

        if fact.fault:
            yield found("serious", fact.fault, fact.problem.removeprefix(f"{fact.fault}: "))
            continue
        if fact.header_frames and fact.header_frames != fact.frames:
            claim = plural(fact.header_frames, "frame")
            detail = f"its header says {claim}, the file has {fact.frames}; texthead uses those"
            yield found("note", "wrong frame count in header", detail)
        if not MediaPath(fact.path).is_image and fact.frames < frames:
            short = f"{plural(fact.frames, 'frame')}, a clip needs {frames}"
            yield found("warning", "too few frames", f"{short}: some repeat; leave it out or use fewer frames")
        size, short, long = f"{fact.width}x{fact.height}", *sorted((fact.width, fact.height))
        if fact.turned:
            yield found("note", "rotated", f"{size} when upright; texthead rotates it, other tools may not")
        if fact.uneven > _UNEVEN_SHARE:
            share = (
                f"{100 * fact.uneven:.0f} % of the gaps between frames differ from the median by more than a quarter"
            )
            detail = f"{share}; re-encode it at a constant rate if speed matters"
            yield found("note", "variable frame rate", detail)
        if short < _TINY:
            detail = f"{size}: a side below {_TINY} pixels; leave it out if nothing can be recognised"
            yield found("warning", "odd size", detail)
        elif long > _LONG * short:
            detail = f"{size}: aspect ratio {long / short:.1f}; a square crop loses most of it"
            yield found("warning", "odd size", detail)
        elif fact.seconds > 0 and (fact.width % 2 or fact.height % 2):
            detail = f"{size}: a side is odd, which many video encoders reject; texthead reads it"
            yield found("note", "odd size", detail)
        remedy = "check it, and leave it out if it shows nothing"
        if fact.brightest < _BLACK:
            detail = f"hardly any pixel is brighter than {fact.brightest:.0f} of 255; {remedy}"
            yield found("warning", "near black", detail)
        elif fact.contrast < _PLAIN:
            yield found("warning", "one colour", f"grey levels differ by {fact.contrast:.1f} of 255; {remedy}")
        if fact.frames > 1 and fact.motion < _STILL:
            detail = f"frames differ by at most {fact.motion:.2f} of 255 grey levels"
            yield found("warning", "frozen", f"{detail}; leave it out if its class is a motion")


# ---- pairs and groups of files


def copies(items: Sequence[Item], facts: Sequence[FileStats]) -> Iterator[Finding]:
    """Yield files with the same bytes: in one class, under two labels, or in two splits."""
    by_digest = defaultdict[str, list[int]](list)
    for position, fact in enumerate(facts):
        by_digest[fact.digest].append(position)
    for digest, group in by_digest.items():
        if not digest or len(group) == 1:
            continue
        about, others, labels, splits = _describe(items, group)
        if len(labels) > 1:
            detail = f"labelled {' and '.join(labels)}; same bytes as {others}; keep one label"
            yield Finding("serious", "one file, two labels", about, detail, tuple(group))
        elif len(splits) > 1:
            detail = f"in {' and '.join(splits)}; same bytes as {others}; keep it in one split"
            yield Finding("serious", "leak", about, detail, tuple(group))
        else:
            yield Finding("warning", "exact duplicate", about, f"same bytes as {others}; keep one", tuple(group))


def _describe(items: Sequence[Item], group: Sequence[int]) -> tuple[str, str, list[str], list[str]]:
    """Return (first path of a group, other paths as text, labels, splits)."""
    first, *others = (str(items[position].path) for position in group)
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    labels = sorted({items[position].label or "no label" for position in group})
    return first, ", ".join(others[:3]) + more, labels, sorted({str(items[position].split) for position in group})


def near_copies(items: Sequence[Item], facts: Sequence[FileStats], pairs: Alike) -> Iterator[Finding]:
    """Yield groups of files with different bytes that look alike; they are leaks if a sure pair is in two splits.

    Parts of one file in one split naturally look alike and are ignored.

    Args:
        pairs: of files with the same bytes, only the first is in a pair.
    """
    near: Alike = {}
    for pair, similarity in pairs.items():
        a, b = (items[position] for position in pair)
        parts = a.split == b.split and (a.media.is_part or b.media.is_part) and a.media.file == b.media.file
        if facts[pair[0]].digest != facts[pair[1]].digest and not parts:
            near[pair] = similarity
    alike = {facts[position].digest: position for pair in near for position in pair}
    same = [(alike[fact.digest], position) for position, fact in enumerate(facts) if fact.digest in alike]
    own = {pair[0]: similarity for pair, similarity in sorted(near.items(), reverse=True)}
    # A pair stands for the exact copies of its files too.
    splits_of: dict[str, set[str | None]] = defaultdict(set)
    for item, fact in zip(items, facts, strict=True):
        splits_of[fact.digest].add(item.split)
    across = {pair: len(splits_of[facts[pair[0]].digest] | splits_of[facts[pair[1]].digest]) > 1 for pair in near}
    sure = {pair[0] for pair, similarity in near.items() if similarity.sure and across[pair]}
    connected = DisjointSet({position for pair in [*near, *same] for position in pair})
    for pair in [*near, *same]:
        connected.merge(*pair)
    for group in sorted(sorted(group) for group in connected.subsets()):
        about, others, labels, splits = _describe(items, group)
        # The first file may have no pair of its own, if it is an exact copy.
        similarity = next(own[position].words for position in group if position in own)
        labelled = f"; labels {', '.join(labels)}" if len(labels) > 1 else ""
        where = f" in {' and '.join(splits)}" if len(splits) > 1 else ""
        remedy = "check which label is right" if len(labels) > 1 else "keep one if they show the same"
        severity: Severity = "warning"
        # In one split only a warning: classes filmed in the same place also look alike to an encoder.
        fault = "near duplicate, two labels" if len(labels) > 1 else "near duplicate"
        if len(splits) > 1:
            severity, fault = "warning", "may be a near leak"
            if not sure.isdisjoint(group):
                severity, fault = "serious", "near leak"
        detail = f"looks like {others}{where} ({similarity}{labelled}); {remedy}"
        yield Finding(severity, fault, about, detail, tuple(group))


def overlaps(items: Sequence[Item]) -> Iterator[Finding]:
    """Yield files with overlapping parts under two labels or in two splits, one finding of each kind per file."""
    if not any(item.media.is_part for item in items):
        return
    by_file = defaultdict[Path, list[int]](list)
    for position, item in enumerate(items):
        by_file[item.media.resolved().file].append(position)
    kinds: tuple[tuple[str, Severity, str, str], ...] = (
        ("split", "serious", "in", "they share frames; change their times"),
        ("label", "warning", "labelled", "change their times, unless both really happen at once"),
    )
    for positions in by_file.values():
        pairs: list[tuple[int, int]] = []  # With overlapping times, the earlier part first.
        on: list[int] = []
        spans = {position: items[position].media.span for position in positions}
        for position in sorted(positions, key=spans.__getitem__):
            on = [other for other in on if spans[other].end > spans[position].start]
            pairs += [(other, position) for other in on]
            on.append(position)
        for key, severity, verb, remedy in kinds:
            apart = [pair for pair in pairs if len({getattr(items[position], key) for position in pair}) > 1]
            if apart:
                texts = [f"{items[i].media.span} is {verb} {getattr(items[i], key)}" for i in apart[0]]
                count = f" ({len(apart):,} such pairs)" if len(apart) > 1 else ""
                members = tuple(sorted({position for pair in apart for position in pair}))
                about, detail = str(items[positions[0]].media.file), f"{', '.join(texts)}{count}: {remedy}"
                yield Finding(severity, f"parts overlap, two {key}s", about, detail, members)


def group_leaks(items: Sequence[Item]) -> Iterator[Finding]:
    """Yield groups in more than one split; the parts of a file form a group if the data names none."""
    splits = defaultdict[tuple[bool, str], set[str]](set)
    for item in items:
        if item.split and (item.group or item.media.is_part):
            splits[item.group is not None, item.group_key].add(item.split)
    for (named, group), group_splits in splits.items():
        where = " and ".join(sorted(group_splits))
        if len(group_splits) > 1 and named:
            yield Finding("serious", "group in two splits", group, f"has items in {where}; put all in one split")
        elif len(group_splits) > 1:
            detail = f"has parts in {where}, which may look alike; put all in one split"
            yield Finding("warning", "parts in two splits", group, detail)


# ---- classes


def count_findings(items: Sequence[Item], empty: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield classes with no or few training items. Items without a split count as training items.

    Args:
        empty: class folders without a file.
    """
    train = Counter(item.label for item in items if item.split in (None, "train"))
    remedy = "has no video or image; add one or remove the folder"
    yield from (Finding("serious", "empty class folder", folder, remedy) for folder in empty)
    for label in sorted({item.label for item in items}):
        count = train[label]
        if not count:
            detail = "all its items are held out; move some to the training split"
            yield Finding("serious", "no training item", label, detail)
        elif count == 1:
            yield Finding("warning", "one training item", label, "none is left to hold out; add some")
        elif max(train.values()) > _IMBALANCE * count:
            largest = train.most_common(1)[0]
            detail = f"{plural(count, 'item')}, {largest[0]} has {largest[1]:,}; add some, or train on K per class"
            yield Finding("warning", "imbalance", label, detail)


def name_findings(classes: Sequence[str], labels: Sequence[str] = (), *, clean: bool = True) -> Iterator[Finding]:
    """Yield problems of class names.

    Args:
        labels: those of the data.
        clean: whether labels like `push_up` are split into words before encoding.
    """
    severity, detail = ("note", "is read as {!r}") if clean else ("warning", "is not read as {!r}; use `clean=True`")
    same = defaultdict[str, list[str]](list)
    for label in classes:
        cleaned = clean_name(label)
        same[cleaned.casefold()].append(label)
        # `n01440764`, `v_001`, `class 12` and `7`, but not `A` and `TV`.
        has_digit = any(character.isdigit() for character in label)
        if has_digit and {word.lower() for word in _WORDS.findall(cleaned)} <= _EMPTY_WORDS:
            yield Finding("serious", "code instead of a name", label, "set `labels` to a CSV of id,name")
        elif cleaned != " ".join(label.split()):
            yield Finding(severity, "words run together", label, detail.format(cleaned))
        if any(character.isalpha() and ord(character) > _LAST_LATIN for character in label):
            remedy = "most text encoders know only Latin letters; translate it"
            yield Finding("warning", "non-Latin letters", label, remedy)
    for first, *others in same.values():
        if others:
            yield Finding("serious", "same name twice", first, f"reads the same as {', '.join(others)}; merge them")
    for label in sorted({*labels} - {*classes}):
        remedy = "is not among the classes; add it there or leave out its items"
        yield Finding("serious", "unknown label", label, remedy)
    for label in mirrored_names(classes):
        flips = "a flipped picture would make it wrong, so train turns flips off"
        yield Finding("note", "left or right", label, flips)


def folder_findings(items: Sequence[Item]) -> Iterator[Finding]:
    """Yield items whose folder has the name of another class."""
    names = {clean_name(item.label).casefold() for item in items}
    for position, item in enumerate(items):
        folder = clean_name(item.path.parent.name).casefold()
        if folder in names and folder != clean_name(item.label).casefold():
            detail = f"is labelled {item.label} but is in folder {item.path.parent.name}; check which is right"
            yield Finding("serious", "folder of another class", str(item.path), detail, (position,))


def questioned(findings: Iterable[Finding]) -> set[int]:
    """Return the positions of the items whose label a finding already questions."""
    two = ("one file, two labels", "folder of another class")
    return {position for finding in findings if finding.fault in two for position in finding.items}


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
    others = [label for label in judged.ranked if label.item not in known]
    doubtful = [label for label in others if int(label.fits.argmax()) == label.better]
    which = "other label" if known else "label"
    if not doubtful:
        return result, f"no {which} looks wrong: each item fits its own class best"
    item, better = dataset.items[doubtful[0].item], dataset.classes[doubtful[0].better]
    count = plural(len(doubtful), "item")
    return result, (
        f"no {which} is wrong beyond doubt; of {count} that fit another class better, check {item.path} first "
        f"(fits {better})"
    )


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
            reasons |= dict.fromkeys(finding.items, f"{finding.fault}: {finding.detail}")
        elif finding.fault in ("leak", "near leak", "exact duplicate", "parts overlap, two splits"):
            remaining = [position for position in finding.items if position not in reasons]
            remaining.sort(key=lambda position: order.index(items[position].split))
            copied = finding.fault in ("leak", "exact duplicate")
            for position in remaining[1:]:
                if copied or items[position].split != items[remaining[0]].split:
                    reasons[position] = f"{finding.fault}: {items[remaining[0]].path} is kept"
    return dict(sorted(reasons.items()))
