"""Write labels and guesses as Label Studio tasks or FiftyOne datasets."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from texthead.data.dataset import Item
from texthead.data.fiftyone import GUESS, RESERVED, TRUTH, Sample
from texthead.data.label_studio import CONTROL, LOCAL, PARTS, RATE, Frames
from texthead.errors import DataError
from texthead.files import new_folder, replacing, write_json
from texthead.media.open import is_image
from texthead.media.paths import file_of, is_part


def media_kind(files: Iterable[Path], tool: str) -> str:
    """Return "image" or "video", the common kind of all files.

    Raises:
        DataError: there are both kinds, or a frame folder or shard clip, which the tool cannot show.
    """
    first: dict[str, Path] = {}
    for path in files:
        kind = "image" if is_image(path) else "video"
        if not file_of(path).is_file():
            raise DataError(f"{path}: {tool} shows only files, not frame folders or clips in shards; leave it out")
        first.setdefault(kind, path)
    if len(first) > 1:
        examples = " and ".join(map(str, first.values()))
        raise DataError(f"{tool} can have images or videos, not both ({examples}); export them separately")
    return next(iter(first), "video")


def files_with_parts(items: Iterable[Item]) -> list[list[Item]]:
    """Group the items by file; a file in several splits or groups appears once for each."""
    by_file: dict[tuple[Path, str | None, str | None], list[Item]] = {}
    for item in items:
        by_file.setdefault((file_of(item.path), item.split, item.group), []).append(item)
    return [*by_file.values()]


def shared_extra(items: Sequence[Item]) -> list[tuple[str, str]]:
    """Return the extra columns that have the same value in all items."""
    return [pair for pair in items[0].extra if all(pair in item.extra for item in items)]


def part_names(items: Iterable[Item]) -> list[str]:
    """Return the items' times in the form that `labelled_parts` recognises."""
    return [item.path.name.removeprefix(file_of(item.path).name) for item in items]


# ---- Label Studio


def write_tasks(
    path: Path,
    items: Sequence[Item],
    guesses: Mapping[Path, tuple[str, float]],
    classes: Sequence[str],
    *,
    root: Path,
    model: str,
) -> Path:
    """Write tasks and, beside them, the labelling configuration; return the configuration's path.

    Labels become annotations, guesses (name, probability) become predictions. If any item is a part of a video, tasks
    are files with frame ranges, and a whole file is the range of all its frames.

    Args:
        items: an empty label means unlabelled.
        root: Label Studio's document root.
        model: model name for the predictions.

    Raises:
        DataError: there are images and videos, or files outside the root.
        MediaError: a video with parts cannot be read.
        RunError: the files cannot be written.
    """
    kind = media_kind((item.path for item in items), "a Label Studio project")
    timed = any(is_part(item.path) for item in items)
    tasks: list[dict[str, Any]] = []
    for rows in files_with_parts(items) if timed else [[item] for item in items]:
        first, file = rows[0], file_of(rows[0].path)
        others = {name: value for name, value in shared_extra(rows) if name not in ("image", "video")}
        data: dict[str, Any] = {**others, kind: _address(file, root)}
        data |= {name: value for name, value in (("split", first.split), ("group", first.group)) if value}
        frames = Frames(file) if timed else None
        if frames is not None:
            data |= {RATE: round(frames.rate, 3), PARTS: part_names(rows)}
        task: dict[str, Any] = {"data": data}
        labels = [_result(kind, item.path, item.label, frames) for item in rows if item.label]
        if labels:
            # By default, Label Studio treats imported annotations as ground truth, which overrides later ones.
            task["annotations"] = [{"result": labels, "ground_truth": False}]
        named = {item.path: guesses[item.path] for item in rows if item.path in guesses}
        if named:
            score = round(min(probability for _, probability in named.values()), 6)
            results = [_result(kind, path, name, frames) for path, (name, _) in named.items()]
            task["predictions"] = [{"model_version": model, "score": score, "result": results}]
        tasks.append(task)
    names = [*dict.fromkeys([*classes, *(item.label for item in items if item.label)])]
    write_json(path, tasks)
    config = path.with_suffix(".xml")
    with replacing(config) as temporary:
        temporary.write_text(labelling_config(kind, names, timed=timed), encoding="utf-8")
    return config


def labelling_config(kind: str, classes: Sequence[str], *, timed: bool = False) -> str:
    """Return the labelling configuration of a project: one class per image or video.

    Args:
        timed: one class per frame range instead.
    """
    outer, inner = ("TimelineLabels", "Label") if timed else ("Choices", "Choice")
    names = "\n".join(f"    <{inner} value={quoteattr(name)}/>" for name in classes)
    player = f' frameRate="${RATE}" timelineHeight="120"' if timed else ""
    media = f'<{kind.capitalize()} name="{kind}" value="${kind}"{player}/>'
    rule = "" if timed else ' choice="single" required="true"'
    return f'<View>\n  {media}\n  <{outer} name="{CONTROL}" toName="{kind}"{rule}>\n{names}\n  </{outer}>\n</View>\n'


def _result(kind: str, path: Path, name: str, frames: Frames | None) -> dict[str, Any]:
    """Return the label of a file, or of the frame range of a part."""
    control = {"from_name": CONTROL, "to_name": kind}
    if frames is None:
        return {**control, "type": "choices", "value": {"choices": [name]}}
    first, last = frames.numbers(path)
    value = {"ranges": [{"start": first, "end": last}], "timelinelabels": [name]}
    return {**control, "id": f"{first}-{last}", "type": "timelinelabels", "value": value}


def _address(path: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    if not absolute.is_relative_to(root):
        raise DataError(f"{path}: not inside {root}, the folder that Label Studio serves; move the files there")
    # File names may not be valid UTF-8, so their bytes are quoted.
    return f"{LOCAL}/?d={quote(os.fsencode(absolute.relative_to(root)))}"


# ---- FiftyOne


def write_samples(
    folder: Path, items: Sequence[Item], guesses: Mapping[Path, tuple[str, float]], classes: Sequence[str]
) -> None:
    """Write a folder that FiftyOne reads as a FiftyOneDataset; media files are not copied.

    Labels become the field `ground_truth`, guesses (name, probability) become `prediction` with a confidence, splits
    become tags. If any item is a part of a video, both fields are temporal detections.

    Args:
        items: an empty label means unlabelled.

    Raises:
        DataError: there are images and videos.
        MediaError: a video with parts cannot be read.
        RunError: the folder exists, or cannot be written.
    """
    kind = media_kind((item.path for item in items), "a FiftyOne dataset")
    timed = any(is_part(item.path) for item in items)
    samples: list[Sample] = []
    for rows in files_with_parts(items) if timed else [[item] for item in items]:
        first, file = rows[0], file_of(rows[0].path)
        # abspath, because resolve would follow links.
        sample: Sample = {"filepath": os.path.abspath(file), "tags": [first.split] if first.split else []}  # noqa: PTH100
        frames = Frames(file) if timed else None
        labels = [_label_of(item.path, item.label, frames) for item in rows if item.label]
        predictions = [
            {**_label_of(item.path, name, frames), "confidence": round(probability, 6)}
            for item in rows
            if item.path in guesses
            for name, probability in [guesses[item.path]]
        ]
        for name, each in ((TRUTH, labels), (GUESS, predictions)):
            if each:
                sample[name] = {"_cls": "TemporalDetections", "detections": each} if timed else each[0]
        if timed:
            sample[PARTS] = part_names(rows)
        if first.group:
            sample["group"] = first.group
        if kind == "video":
            sample["frames"] = "frames.json"
        more = {name: text for name, text in shared_extra(rows) if name.isidentifier() and name not in RESERVED}
        samples.append({**more, **sample})
    names = [*dict.fromkeys([*classes, *(item.label for item in items if item.label)])]
    with new_folder(folder) as temporary:
        # FiftyOne's first format; the later one has fields of its database, which change between versions.
        write_json(temporary / "metadata.json", {"media_type": kind, "info": {"default_classes": names}})
        write_json(temporary / "samples.json", {"samples": samples})
        if kind == "video":
            write_json(temporary / "frames.json", {"frames": {}})


def _label_of(path: Path, name: str, frames: Frames | None) -> dict[str, Any]:
    """Return the label of a file, or of the frame range of a part."""
    if frames is None:
        return {"_cls": "Classification", "label": name}
    return {"_cls": "TemporalDetection", "label": name, "support": [*frames.numbers(path)]}
