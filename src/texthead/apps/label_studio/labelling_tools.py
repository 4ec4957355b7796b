"""Write labels and guesses as Label Studio tasks."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from texthead.apps.label_studio.tasks import CONTROL, LOCAL, PARTS, RATE, Frames, document_root
from texthead.data import Dataset, Item
from texthead.errors import DataError
from texthead.files import replacing, write_json
from texthead.media import MediaPath


def check(path: Path) -> None:
    """Raise DataError for a path that Label Studio would not import."""
    if path.suffix.lower() != ".json":
        raise DataError(f"{path}: Label Studio imports .json files; name it .json")


def write(
    path: Path,
    items: Sequence[Item],
    guesses: Mapping[Path, Sequence[tuple[str, float]]],
    classes: Sequence[str],
    *,
    data: Path,
    model: str,
    several: bool = False,
) -> str:
    """Write tasks and, beside them, the labelling configuration; return a line on how to import them.

    Labels become annotations; guesses, the names and probabilities of each file, become predictions. If any item is a
    part of a video, tasks are files with frame ranges, and a whole file is the range of all its frames.

    Args:
        items: an empty label means unlabelled.
        data: the folder or manifest of the files.
        model: model name for the predictions.
        several: whether files have several labels.

    Raises:
        DataError: there are images and videos, or files outside Label Studio's document root.
        MediaError: a video with parts cannot be read.
        RunError: the files cannot be written.
    """
    root = document_root(data, (item.path for item in items))
    kind = _media_kind(item.path for item in items)
    timed = any(item.media.is_part for item in items)
    tasks, used = list[dict[str, Any]](), dict.fromkeys(classes)
    for rows in _files_with_parts(items) if timed else [[item] for item in items]:
        first, file = rows[0], rows[0].media.file
        shared = [pair for pair in first.extra if all(pair in item.extra for item in rows)]
        others = {name: value for name, value in shared if name not in ("image", "video")}
        fields: dict[str, Any] = {**others, kind: _address(file, root)}
        fields |= {name: value for name, value in (("split", first.split), ("group", first.group)) if value}
        frames = Frames(file) if timed else None
        if frames is not None:
            fields |= {RATE: round(frames.rate, 3), PARTS: [item.media.times for item in rows]}
        task: dict[str, Any] = {"data": fields}
        sets = Dataset(tuple(rows), several=several).labelling.sets
        labels = [_result(kind, item.path, own, frames) for item, own in zip(rows, sets, strict=True) if any(own)]
        used |= {name: None for own in sets for name in own if name}
        if labels:
            # By default, Label Studio treats imported annotations as ground truth, which overrides later ones.
            task["annotations"] = [{"result": labels, "ground_truth": False}]
        named = {item.path: dict(own) for item in rows if (own := guesses.get(item.path))}
        if named:
            score = round(min(probability for own in named.values() for probability in own.values()), 6)
            results = [_result(kind, path, [*own], frames) for path, own in named.items()]
            task["predictions"] = [{"model_version": model, "score": score, "result": results}]
        tasks.append(task)
    write_json(path, tasks)
    config = path.with_suffix(".xml")
    with replacing(config) as temporary:
        temporary.write_text(labelling_config(kind, [*used], timed=timed, several=several), encoding="utf-8")
    parts = " and parts of files" if timed else ""
    count = f"{len(items)} files{parts}, {sum(bool(guesses.get(item.path)) for item in items)} with a guess"
    served = f"labelling configuration for Label Studio: {config}; set its LOCAL_FILES_DOCUMENT_ROOT to {root}"
    return f"{path}: {count}; {served}"


def labelling_config(kind: str, classes: Sequence[str], *, timed: bool = False, several: bool = False) -> str:
    """Return the labelling configuration of a project: one class per image or video.

    Args:
        timed: one class per frame range instead.
        several: any number of classes.
    """
    outer, inner = ("TimelineLabels", "Label") if timed else ("Choices", "Choice")
    names = "\n".join(f"    <{inner} value={quoteattr(name)}/>" for name in classes)
    player = f' frameRate="${RATE}" timelineHeight="120"' if timed else ""
    media = f'<{kind.capitalize()} name="{kind}" value="${kind}"{player}/>'
    rule = ' choice="multiple"' if several else "" if timed else ' choice="single" required="true"'
    return f'<View>\n  {media}\n  <{outer} name="{CONTROL}" toName="{kind}"{rule}>\n{names}\n  </{outer}>\n</View>\n'


def _result(kind: str, path: Path, names: Sequence[str], frames: Frames | None) -> dict[str, Any]:
    """Return the labels of a file, or of the frame range of a part."""
    control = {"from_name": CONTROL, "to_name": kind}
    if frames is None:
        return {**control, "type": "choices", "value": {"choices": [*names]}}
    first, last = frames.numbers(path)
    value = {"ranges": [{"start": first, "end": last}], "timelinelabels": [*names]}
    return {**control, "id": f"{first}-{last}", "type": "timelinelabels", "value": value}


def _address(path: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    if not absolute.is_relative_to(root):
        raise DataError(f"{path}: not inside {root}, the folder that Label Studio serves; move the files there")
    # File names may not be valid UTF-8, so their bytes are quoted.
    return f"{LOCAL}/?d={quote(os.fsencode(absolute.relative_to(root).as_posix()))}"


def _media_kind(files: Iterable[Path]) -> str:
    """Return "image" or "video", the common kind of all files.

    Raises:
        DataError: there are both kinds, or a frame folder or shard clip, which Label Studio cannot show.
    """
    first: dict[str, Path] = {}
    for path in files:
        media = MediaPath(path)
        kind = "image" if media.is_image else "video"
        if not media.file.is_file():
            raise DataError(
                f"{path}: Label Studio shows only files, not frame folders or clips in shards; leave it out"
            )
        first.setdefault(kind, path)
    if len(first) > 1:
        examples = " and ".join(map(str, first.values()))
        raise DataError(
            f"a project of Label Studio can have images or videos, not both ({examples}); export them separately"
        )
    return next(iter(first), "video")


def _files_with_parts(items: Iterable[Item]) -> list[list[Item]]:
    """Group the items by file; a file in several splits or groups appears once for each."""
    by_file: dict[tuple[Path, str | None, str | None], list[Item]] = {}
    for item in items:
        by_file.setdefault((item.media.file, item.split, item.group), []).append(item)
    return [*by_file.values()]
