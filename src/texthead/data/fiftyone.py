"""Read FiftyOne's JSON as labelled files: samples.json of whole datasets, labels.json of classifications."""

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

# FiftyOne's default names of the fields for labels and for predictions.
TRUTH, GUESS = "ground_truth", "prediction"

_RANGES = ("TemporalDetection", "TemporalDetections")

# Reserved field names. Names that begin with `_` belong to the database.
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
    """Return the JSON file with the labels in a folder exported by FiftyOne; None for any other folder."""
    for name, others in (("samples.json", ("metadata.json",)), ("labels.json", ("data", "data.json"))):
        if (folder / name).is_file() and any((folder / other).exists() for other in others):
            return folder / name
    return None


def is_fiftyone(value: object) -> bool:
    """Return whether the content of a JSON file is a samples.json or labels.json of FiftyOne."""
    if not isinstance(value, dict):
        return False
    samples, labels = value.get("samples"), value.get("labels")
    whole = isinstance(samples, list) and all(isinstance(each, dict) and "filepath" in each for each in samples[:1])
    return whole or ("classes" in value and isinstance(labels, dict))


def read_fiftyone(
    source: Path, value: Any, *, root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """Return the labelled files of a samples.json or labels.json, and notes for the user.

    In a samples.json, the label is the field `ground_truth`, else the only field of classifications or temporal
    detections without confidences (labels with confidences are predictions). Temporal detections label parts of a
    video. A tag that is a split name gives the split, else the field `split`; a text field `group` gives the group.

    Args:
        value: the content of the JSON file.
        root: the folder that relative paths are relative to; None for the file's own, or for `data` in it if the file
            is a labels.json.
        split_names: maps the known split names to ours.

    Raises:
        DataError: a file or range has several labels, or a box; a file has two splits or an unknown one; a file of a
            labels.json does not exist.
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
    for number, sample in enumerate(samples, 1):
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str) or "\0" in sample["filepath"]:
            raise DataError(f"{source}: sample {number} has no filepath; export the dataset again")
    label_field = _label_field(source, samples)
    root = source.parent if root is None else root
    known = {*RESERVED, "group", "split"}
    rows: list[Row] = []
    unlabelled = 0
    for sample in samples:
        where = f"{source}: {sample['filepath']}"
        labels = _by_range(where, sample.get(label_field))
        if not labels:
            unlabelled += 1
            continue
        tags = sample["tags"] if isinstance(sample.get("tags"), list) else []
        tagged = sorted({split_names[str(tag).lower()] for tag in tags if str(tag).lower() in split_names})
        if len(tagged) > 1:
            raise DataError(f"{where}: tags name {len(tagged)} splits ({listed(tagged)}); keep one")
        split_field = sample.get("split")
        split = tagged[0] if tagged else split_field if isinstance(split_field, str) else None
        extra = [(k, v) for k, v in sample.items() if isinstance(v, str) and k not in known and k[:1] != "_"]
        group = _group(where, sample.get("group"))
        rows += [
            checked_row(where, path, label, group, split=split, extra=tuple(extra), names=split_names)
            for path, label in labelled_parts(where, root / sample["filepath"], labels, sample.get(PARTS))
        ]
    return rows, unlabelled


def _label_field(source: Path, samples: Sequence[Sample]) -> str:
    """Return the name of the field that holds the labels."""
    kinds: dict[str, set[str]] = defaultdict(set)
    predicted: set[str] = set()
    for sample in samples:
        for name, content in sample.items():
            if isinstance(content, dict) and isinstance(content.get("_cls"), str):
                kinds[name].add(content["_cls"])
                if any(isinstance(one, dict) and one.get("confidence") is not None for one in _label_list(content)):
                    predicted.add(name)
    if TRUTH in kinds:
        return TRUTH
    fields = [name for name, types in kinds.items() if types & {"Classification", "Classifications", *_RANGES}]
    labels = [name for name in fields if name not in predicted]
    if len(labels) == 1:
        return labels[0]
    if len(labels) > 1:
        raise DataError(
            f"{source}: the labels may be in any of the fields {listed(labels)}; call the right one {TRUTH} "
            f'(dataset.rename_sample_field("{labels[0]}", "{TRUTH}"))'
        )
    predictions = f", only predictions, which have confidences ({listed(fields)})" if fields else ""
    raise DataError(f"{source}: no field holds labels{predictions}; store labels as Classification in a field {TRUTH}")


def _by_range(where: str, content: object) -> dict[Range | None, str]:
    """Return the label of each range of frames, or of the whole file, in a field."""
    if content is None:
        return {}
    kind = content.get("_cls") if isinstance(content, dict) else None
    if isinstance(content, dict) and kind in _RANGES:
        return _ranges(where, _label_list(content))
    if not isinstance(content, dict) or kind not in ("Classification", "Classifications"):
        raise DataError(
            f"{where}: labels must be Classification or TemporalDetection, got {kind or type(content).__name__}"
        )
    return _whole(where, _label_list(content))


def _label_list(content: dict[str, Any]) -> Sequence[object]:
    """Return the labels of a field that holds several, or its single label in a list."""
    key = {"Classifications": "classifications", "TemporalDetections": "detections"}.get(content["_cls"])
    several = [content] if key is None else content.get(key)
    return several if isinstance(several, list) else []


def _whole(where: str, classifications: Sequence[object]) -> dict[Range | None, str]:
    label = _only(where, classifications)
    return {} if label is None else {None: label}


def _ranges(where: str, detections: Sequence[object]) -> dict[Range | None, str]:
    """Return the label of each range of frames; a repeated range must have the same label each time."""
    labels: dict[Range | None, str] = {}
    for each in detections:
        support = each.get("support") if isinstance(each, dict) else None
        if not isinstance(support, list) or len(support) != 2:
            raise DataError(f"{where}: the support of a temporal detection must be two frames, got {support!r:.80}")
        range_ = range_of(where, *support, in_frames=True)
        label = _only(where, [each]) or ""
        if labels.setdefault(range_, label) != label:
            _only(f"{where}: frames {support[0]} to {support[1]}", [{"label": labels[range_]}, each])
    return labels


def _only(where: str, classifications: Sequence[object]) -> str | None:
    if not classifications:
        return None
    labels = [each.get("label") if isinstance(each, dict) else None for each in classifications]
    names = [label for label in labels if isinstance(label, str)]
    if len(names) < len(labels):
        wrong = next(label for label in labels if not isinstance(label, str))
        raise DataError(f"{where}: its label must be text, got {wrong!r:.80}")
    if len(names) > 1:
        raise DataError(f"{where}: has {len(names)} labels ({listed(names)}); give each file or range one label")
    return names[0]


def _group(where: str, content: object) -> str:
    """Return the group from a text field, or from a FiftyOne group, whose samples show the same scene; "" if none."""
    if not (content is None or isinstance(content, str | dict)):
        raise DataError(f"{where}: group must be text, got {content!r:.80}; correct it")
    if isinstance(content, dict):
        own = content.get("_id")
        content = own.get("$oid") if isinstance(own, dict) else own
    return content if isinstance(content, str) else ""


def _labels(
    source: Path, value: dict[str, Any], root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], int]:
    """Read a labels.json, which maps file names without suffix to labels or to indices of its classes."""
    classes, labels = value["classes"], value["labels"]
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise DataError(f"{source}: classes must be a list of names; export the dataset again")
    find = _finder(source, root)
    rows: list[Row] = []
    unlabelled = 0
    for name, content in labels.items():
        where = f"{source}: {name}"
        each = content if isinstance(content, list) else [] if content is None else [content]
        named = [_classification(where, one, classes) for one in each]
        labelled = _ranges(where, named) if any("support" in one for one in named) else _whole(where, named)
        unlabelled += not labelled
        for path, label in labelled_parts(where, find(name), labelled, None) if labelled else ():
            rows.append(checked_row(where, path, label, "", split=None, extra=(), names=split_names))
    return rows, unlabelled


def _classification(where: str, content: object, classes: list[str] | None) -> dict[str, Any]:
    """Return a classification or temporal detection with the label's name."""
    label = content.get("label") if isinstance(content, dict) else content
    if isinstance(content, dict):
        if "timestamps" in content:
            raise DataError(f"{where}: has timestamps, which FiftyOne rounds; export again with use_timestamps=False")
        if "bounding_box" in content:
            raise DataError(f"{where}: the label is for a box; label whole files")
    if isinstance(label, int) and classes is not None:
        if not 0 <= label < len(classes):
            raise DataError(f"{where}: label {label} is outside 0 to {len(classes) - 1}, the file's classes")
        label = classes[label]
    support = content.get("support") if isinstance(content, dict) else None
    return {"label": label} if support is None else {"label": label, "support": support}


def _finder(source: Path, root: Path | None) -> Callable[[str], Path]:
    """Return a function from a name in a labels.json to its file: the path itself, from data.json, or in `data`."""
    listing = source.with_name("data.json")
    folder = source.parent / "data" if root is None else root
    known: dict[str, list[Path]] = defaultdict(list)
    if root is None and listing.is_file() and not folder.is_dir():
        try:
            value = read_value(listing, most=MOST_BYTES_OF_LISTS, pairs=without_twins)
        except (OSError, ValueError) as error:
            raise DataError(f"{listing}: not readable JSON ({error}); export the dataset again") from None
        if not isinstance(value, dict) or not all(isinstance(path, str) for path in value.values()):
            raise DataError(f"{listing}: must map each name to a path; export the dataset again")
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
            raise DataError(f"{source}: {name}: {some} of this name in {folder}; give root, the folder of the files")
        return files[0]

    return find
