"""FiftyOne's JSON -> labelled files: samples.json of whole datasets, labels.json of classifications."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from texthead.data.label_studio import (
    PARTS,
    Range,
    Row,
    checked_row,
    labelled_parts,
    range_of,
)
from texthead.errors import DataError, listed
from texthead.files import MOST_BYTES_OF_LISTS, read_value, without_twins
from texthead.media.find import media_below

# The field of labels, as FiftyOne itself calls it, and that of guesses.
TRUTH, GUESS = "ground_truth", "prediction"

_RANGES = ("TemporalDetection", "TemporalDetections")

# Fields that every sample has; names of others are words, and those with `_` in front are the database's.
RESERVED = {
    "id",
    "filepath",
    "tags",
    "metadata",
    "created_at",
    "last_modified_at",
    "frames",
    "media_type",
    TRUTH,
    GUESS,
}

Sample = dict[str, Any]


def json_of(folder: Path) -> Path | None:
    """Return the JSON of labels in a folder that FiftyOne exported; None in another folder."""
    for name, others in (("samples.json", ("metadata.json",)), ("labels.json", ("data", "data.json"))):
        if (folder / name).is_file() and any((folder / other).exists() for other in others):
            return folder / name
    return None


def is_fiftyone(value: object) -> bool:
    """Return whether the value of a JSON file is that of a samples.json or labels.json."""
    if not isinstance(value, dict):
        return False
    samples, labels = value.get("samples"), value.get("labels")
    whole = isinstance(samples, list) and all(isinstance(each, dict) and "filepath" in each for each in samples[:1])
    return whole or ("classes" in value and isinstance(labels, dict))


def read_fiftyone(
    source: Path, value: Any, *, root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """Return the labelled files of a samples.json or labels.json, and notes on what is not used.

    Of a samples.json the label is the field `ground_truth`, else its only field of classifications or temporal
    detections without confidences, which are a model's. Temporal detections label parts of a video. A tag that is the
    name of a split is the split, as is a field `split`; a text field `group` is the group.

    Args:
        value: what the JSON file holds.
        root: the folder that relative paths begin in; the file's own, and of a labels.json `data` in it, if None.
        split_names: what each known name of a split is called here.

    Raises:
        DataError: a file or range with several labels, boxes, two splits or none that is known; a file of a labels.json
            that is not there.
    """
    read = _samples if "samples" in value else _labels
    rows, unlabelled = read(source, value, root, split_names)
    count = len(value["samples"] if "samples" in value else value["labels"])
    if not unlabelled:
        return rows, []
    return rows, [f"{source}: {unlabelled} of {count} samples have no label and are not used"]


def _samples(
    source: Path, value: dict[str, Any], root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], int]:
    samples: list[Sample] = value["samples"]
    for place, sample in enumerate(samples, 1):
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str) or "\0" in sample["filepath"]:
            raise DataError(f"{source}: sample {place} has no filepath; export the dataset again")
    label_field = _label_field(source, samples)
    start = source.parent if root is None else root
    known = {*RESERVED, "group", "split"}
    rows: list[Row] = []
    unlabelled = 0
    for sample in samples:
        where = f"{source}: {sample['filepath']}"
        labels = _by_place(where, sample.get(label_field))
        if not labels:
            unlabelled += 1
            continue
        tags = sample["tags"] if isinstance(sample.get("tags"), list) else []
        tagged = sorted({split_names[str(tag).lower()] for tag in tags if str(tag).lower() in split_names})
        if len(tagged) > 1:
            raise DataError(f"{where}: tags name {len(tagged)} splits ({listed(tagged)}): keep one")
        given = sample.get("split")
        split = tagged[0] if tagged else given if isinstance(given, str) else None
        extra = [(k, v) for k, v in sample.items() if isinstance(v, str) and k not in known and k[:1] != "_"]
        group = _group(where, sample.get("group"))
        rows += [
            checked_row(where, path, label, group, split=split, extra=tuple(extra), names=split_names)
            for path, label in labelled_parts(where, start / sample["filepath"], labels, sample.get(PARTS))
        ]
    return rows, unlabelled


def _label_field(source: Path, samples: Sequence[Sample]) -> str:
    """Return the field that holds the labels."""
    kinds: dict[str, set[str]] = defaultdict(set)
    guessed: set[str] = set()
    for sample in samples:
        for name, content in sample.items():
            if isinstance(content, dict) and isinstance(content.get("_cls"), str):
                kinds[name].add(content["_cls"])
                if any(isinstance(one, dict) and one.get("confidence") is not None for one in _held(content)):
                    guessed.add(name)
    if TRUTH in kinds:
        return TRUTH
    named = [name for name, found in kinds.items() if found & {"Classification", "Classifications", *_RANGES}]
    labels = [name for name in named if name not in guessed]
    if len(labels) == 1:
        return labels[0]
    if len(labels) > 1:
        raise DataError(
            f"{source}: any of the fields {listed(labels)} may hold the labels: call the right one {TRUTH} "
            f'(dataset.rename_sample_field("{labels[0]}", "{TRUTH}"))'
        )
    have = f" without confidences, as the predictions in {listed(named)} have them" if named else ""
    raise DataError(f"{source}: no field of labels{have}: keep labels as Classification in a field {TRUTH}")


def _by_place(where: str, content: object) -> dict[Range | None, str]:
    """Return the label of each range of frames, or of the whole file, that a field holds."""
    if content is None:
        return {}
    kind = content.get("_cls") if isinstance(content, dict) else None
    if isinstance(content, dict) and kind in _RANGES:
        return _ranges(where, _held(content))
    if not isinstance(content, dict) or kind not in ("Classification", "Classifications"):
        raise DataError(f"{where}: the label is {kind or type(content).__name__}; keep labels as Classification")
    return _whole(where, _held(content))


def _held(content: dict[str, Any]) -> Sequence[object]:
    """Return the labels of a field that holds several, or the one that it is."""
    key = {"Classifications": "classifications", "TemporalDetections": "detections"}.get(content["_cls"])
    several = [content] if key is None else content.get(key)
    return several if isinstance(several, list) else []


def _whole(where: str, classifications: Sequence[object]) -> dict[Range | None, str]:
    label = _only(where, classifications)
    return {} if label is None else {None: label}


def _ranges(where: str, detections: Sequence[object]) -> dict[Range | None, str]:
    """Return the label of each range of frames; of a range that comes twice the labels must be the same."""
    found: dict[Range | None, str] = {}
    for each in detections:
        support = each.get("support") if isinstance(each, dict) else None
        if not isinstance(support, list) or len(support) != 2:
            raise DataError(f"{where}: a temporal detection must have a support of two frames, got {support!r:.80}")
        place = range_of(where, *support, in_frames=True)
        label = _only(where, [each]) or ""
        if found.setdefault(place, label) != label:
            _only(f"{where}: frames {support[0]} to {support[1]}", [{"label": found[place]}, each])
    return found


def _only(where: str, classifications: Sequence[object]) -> str | None:
    if not classifications:
        return None
    labels = [each.get("label") if isinstance(each, dict) else None for each in classifications]
    names = [label for label in labels if isinstance(label, str)]
    if len(names) < len(labels):
        wrong = next(label for label in labels if not isinstance(label, str))
        raise DataError(f"{where}: a label must be text, got {wrong!r:.80}")
    if len(names) > 1:
        raise DataError(f"{where}: has {len(names)} labels ({listed(names)}): give each file or range one label")
    return names[0]


def _group(where: str, content: object) -> str:
    """Return the group that a text names, or one of FiftyOne's own, whose samples show the same scene."""
    if not (content is None or isinstance(content, str | dict)):
        raise DataError(f"{where}: group must be text, got {content!r:.80}; correct it")
    if isinstance(content, dict):
        own = content.get("_id")
        content = own.get("$oid") if isinstance(own, dict) else own
    return content if isinstance(content, str) else ""


def _labels(
    source: Path, value: dict[str, Any], root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], int]:
    """Read a labels.json: the label of each file without its suffix, or its place among the classes."""
    classes, labels = value["classes"], value["labels"]
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise DataError(f"{source}: classes must be a list of names; export the dataset again")
    find = _finder(source, root)
    rows: list[Row] = []
    unlabelled = 0
    for name, content in labels.items():
        where = f"{source}: {name}"
        each = content if isinstance(content, list) else [] if content is None else [content]
        found = [_classification(where, one, classes) for one in each]
        labelled = _ranges(where, found) if any("support" in one for one in found) else _whole(where, found)
        unlabelled += not labelled
        for path, label in labelled_parts(where, find(name), labelled, None) if labelled else ():
            rows.append(checked_row(where, path, label, "", split=None, extra=(), names=split_names))
    return rows, unlabelled


def _classification(where: str, content: object, classes: list[str] | None) -> dict[str, Any]:
    """Return a classification, or a range of frames, with its name."""
    label = content.get("label") if isinstance(content, dict) else content
    if isinstance(content, dict):
        if "timestamps" in content:
            raise DataError(f"{where}: has timestamps, which FiftyOne rounds; export again with use_timestamps=False")
        if "bounding_box" in content:
            raise DataError(f"{where}: labels a box; label whole files")
    if isinstance(label, int) and classes is not None:
        if not 0 <= label < len(classes):
            raise DataError(f"{where}: label {label} is outside 0..{len(classes) - 1}, the classes of the file")
        label = classes[label]
    support = content.get("support") if isinstance(content, dict) else None
    return {"label": label} if support is None else {"label": label, "support": support}


def _finder(source: Path, root: Path | None) -> Callable[[str], Path]:
    """Return what finds the file of a name in a labels.json: its path, that of data.json, or a file in `data`."""
    listing = source.with_name("data.json")
    folder = source.parent / "data" if root is None else root
    known: dict[str, list[Path]] = defaultdict(list)
    if root is None and listing.is_file() and not folder.is_dir():
        try:
            value = read_value(listing, most=MOST_BYTES_OF_LISTS, pairs=without_twins)
        except (OSError, ValueError) as error:
            raise DataError(f"{listing}: not readable JSON ({error}); export the dataset again") from None
        if not isinstance(value, dict) or not all(isinstance(path, str) for path in value.values()):
            raise DataError(f"{listing}: must hold a path for each name; export the dataset again")
        for name, path in value.items():
            known[name].append(source.parent / path)
            if Path(name).suffix:
                known[str(Path(name).with_suffix(""))].append(source.parent / path)
    elif folder.is_dir():
        for path in map(Path, media_below(folder)):
            known[str(path.relative_to(folder).with_suffix(""))].append(path)

    def find(name: str) -> Path:
        if Path(name).is_absolute():
            return Path(name)
        files = known.get(name) or known.get(str(Path(name).with_suffix(""))) or []
        files = [path for path in files if path.name == Path(name).name] or files
        if len(files) != 1:
            some = f"{len(files)} files ({listed([path.name for path in files])})" if files else "no file"
            raise DataError(f"{source}: {name}: {some} of this name in {folder}: give root, the folder of its files")
        return files[0]

    return find
