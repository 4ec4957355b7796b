"""Label Studio: its JSON exports as rows of a CSV, and a CSV as its tasks, with the labelling configuration."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from texthead.data import join_labels, manifest_rows, row_path, split_labels
from texthead.errors import DataError, listed, raising
from texthead.files import MAX_BYTES_OF_LISTS, read_value, replacing, write_json
from texthead.media import MediaPath, Span

# A labelled range: its ends, and whether they are frames, numbered from 1, or seconds; None for the whole file.
Range = tuple[float, float, bool] | None

# Frames that Label Studio's player counts in a second if its Video tag does not say.
_RATE = 24.0


def read_export(source: Path, folder: Path, root: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the rows of a CSV in `folder`, the first with the columns, and notes for the user.

    A file or range has several labels if any annotation has several choices. Cancelled annotations are ignored. If
    annotations of a task differ, those marked as ground truth count.

    Args:
        root: the folder that paths in the export are relative to.

    Raises:
        DataError: the file is no export, no file has a label, or a task breaks a rule.
    """
    with raising(DataError, f"{source}: cannot be read as JSON", "export it again"):
        tasks = read_value(source, most=MAX_BYTES_OF_LISTS)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and task.get("data") for task in tasks):
        raise DataError(f"{source}: not a JSON export of Label Studio (JSON-MIN is not read); export as JSON")
    found, unlabelled, unrated = list[tuple[Path, tuple[str, ...], str, str]](), 0, 0
    for number, task in enumerate(tasks, 1):
        where = f"{source}: task {task.get('id', number)}"
        remedy, kinds = "export the project as JSON again", (AttributeError, KeyError, TypeError, IndexError)
        with raising(DataError, f"{where}: cannot be read", remedy, *kinds):
            labels, file = _labels(where, task), _file(where, task["data"], root)
            rate = float(task["data"].get("frame_rate") or 0)
            unrated += not rate and any(each and each[2] for each in labels)
            parts = [(_part(file, each, rate or _RATE), tuple(sorted(names))) for each, names in labels.items()]
        unlabelled += not parts
        found += [(*part, str(task["data"].get("split") or ""), str(task["data"].get("group") or "")) for part in parts]
    multilabel = any(len(names) > 1 for _, names, *_ in found)
    kept = [each for each in found if each[1] or multilabel]
    unlabelled += len(found) - len(kept)
    if not any(names for _, names, *_ in kept):
        raise DataError(f"{source}: none of its files has a label; label some, and export again")
    rows = [("path", "start", "end", "labels" if multilabel else "label", "split", "group")]
    for path, names, split, group in kept:
        media = MediaPath(path)
        label = join_labels(names) if multilabel else names[0]
        rows.append((MediaPath(media.file).relative_to(folder), *media.span.cells(), label, split, group))
    notes = [f"{source}: {unlabelled} files have no label and are left out"] if unlabelled else []
    if unrated:
        problem = f"{unrated} tasks have frames and no `frame_rate` in their data: {_RATE:g} a second are taken"
        notes.append(
            f"{source}: {problem}, Label Studio's default; write the rate of the Video tag there if it differs"
        )
    return rows, notes


def _labels(where: str, task: dict[str, Any]) -> dict[Range, set[str]]:
    """Return the labels of each labelled range of a task, or of its file (none without a choice)."""
    answers = list[tuple[bool, dict[Range, set[str]]]]()
    for annotation in task.get("annotations") or []:
        labels = defaultdict[Range, set[str]](set)
        for result in annotation.get("result") or []:
            value = result["value"]
            if "choices" in value:
                labels[None].update(value["choices"])
            elif "timelinelabels" in value:
                for each in value["ranges"]:
                    labels[float(each["start"]), float(each["end"]), True].update(value["timelinelabels"])
            elif "labels" in value and "start" in value and "text" not in value:
                labels[float(value["start"]), float(value["end"]), False].update(value["labels"])
            else:
                kind = result.get("type")
                raise DataError(f"{where}: a label of type {kind!r} is for no file or range of time; remove it")
        if not annotation.get("was_cancelled"):
            answers.append((annotation.get("ground_truth") is True, dict(labels) or {None: set()}))
    truths = [labels for truth, labels in answers if truth] or [labels for _, labels in answers]
    if any(labels != truths[0] for labels in truths):
        different = listed([" and ".join(sorted(set().union(*each.values()))) or "no label" for each in truths])
        raise DataError(f"{where}: annotations differ ({different}); mark one as ground truth, or remove the others")
    if truths and len(truths[0]) > 1 and None in truths[0]:
        raise DataError(f"{where}: has labels for the whole file and for ranges; keep those of one kind")
    return truths[0] if truths else {}


def _file(where: str, data: dict[str, Any], root: Path) -> Path:
    """Return the file of a task: an address of Label Studio, or a path below `root`."""
    addresses = [value for key in ("video", "image", *data) if isinstance(value := data.get(key), str)]
    paths = [path for each in addresses if MediaPath(path := _path(each)).is_media]
    if not paths:
        raise DataError(f"{where}: data names no video or image; the field must be called video or image")
    if urlsplit(paths[0]).netloc:
        raise DataError(f"{where}: {paths[0]} is a remote address; download the file, and write its path there")
    # Uploads lie below Label Studio's media folder, below its upload folder, or are found by their names.
    places = [root / paths[0], root / "upload" / paths[0], root / Path(paths[0]).name]
    return next((path for path in places if os.path.exists(path)), places[0])  # noqa: PTH110 - a name may be too long


def _path(address: str) -> str:
    """Return the path in an address of Label Studio; other addresses and paths unchanged."""
    url = urlsplit(address)
    if url.path.rstrip("/").endswith("/data/local-files"):
        return parse_qs(url.query, errors="surrogateescape")["d"][-1].lstrip("/")
    return unquote(url.path.partition("/data/upload/")[2]) or address


def _part(file: Path, labelled: Range, rate: float) -> Path:
    """Return the labelled part of a file.

    Worked example, 10 frames per second: frames 1 to 10 are the part from 0 to 1 s.

    Args:
        rate: frames that the player counts in a second.

    Raises:
        ValueError: frames outside the video, or an end before the start.
    """
    if labelled is None:
        return file
    start, end, in_frames = labelled
    if not in_frames:
        return MediaPath(file).part(Span.read(str(start), str(end))).path
    with MediaPath(file).open() as media:
        times = np.array([*media.times, media.duration_seconds])
    # Players follow the longest track, which may be the sound.
    if not 1 <= start <= min(end, times[-1] * rate + 0.5) or end > (times[-1] + 1) * rate:
        count = round(times[-1] * rate)
        raise ValueError(f"frames {start:g} to {end:g} of {count}: correct the range, or the player's frameRate")
    # Frames of the player are equal steps of time; those of the file need not be.
    first = int(np.abs(times[:-1] - (start - 1) / rate).argmin())
    stop = first + 1 + int(np.abs(times[first + 1 :] - end / rate).argmin())
    last = f"{times[stop]:.3f}" if stop < len(times) - 1 else ""
    return MediaPath(file).part(Span.read(f"{times[first]:.3f}", last)).path


# ---- tasks


class _Row(NamedTuple):
    """A file or a part of one: its labels, its guesses with their probabilities, and fields of its task."""

    labels: list[str]
    guesses: dict[str, float]
    fields: dict[str, str]


def write_tasks(source: Path, out: Path, root: Path | None, classes: Sequence[str] = ()) -> str:
    """Write the tasks, and beside them the labelling configuration; return a line on how to import them.

    Labels become annotations, guesses become predictions. If any row is a part of a video, tasks have frame ranges.

    Args:
        root: the folder that Label Studio serves files from; the parent of the folder that holds all files if None,
            since Label Studio wants its storage in a subfolder.
        classes: further classes to choose from.

    Raises:
        DataError: there are images and videos, or files that Label Studio cannot show or that are outside of `root`,
            or parts of a file with different splits or groups.
        MediaError: a video with parts cannot be read.
    """
    rows, multilabel = _read(source)
    by_file: dict[Path, dict[Path, _Row]] = {}
    for path, row in rows.items():
        by_file.setdefault(Path(os.path.abspath(MediaPath(path).file)), {})[path] = row  # noqa: PTH100 - keeps links
    kinds = {"image" if MediaPath(file).is_image else "video" for file in by_file}
    wrong = [file for file in by_file if not file.is_file()]
    if wrong or len(kinds) != 1:
        why = f"{wrong[0]} is not a file that it shows" if wrong else "it has images and videos"
        raise DataError(f"{source}: {why}; a project of Label Studio has single files of one kind, so leave out others")
    (kind,) = kinds
    root = Path(os.path.commonpath([file.parent for file in by_file])).parent if root is None else root.absolute()
    timed, tasks = any(MediaPath(path).is_part for path in rows), list[dict[str, Any]]()
    for file, own in by_file.items():
        if not file.is_relative_to(root):
            raise DataError(f"{file}: not inside {root}, the folder that Label Studio serves; name a folder above it")
        address = f"/data/local-files/?d={quote(os.fsencode(file.relative_to(root).as_posix()))}"
        ranges, rate = _ranges(file, [*own]) if timed else ({}, {})
        fields = next(iter(own.values())).fields
        if any(row.fields != fields for row in own.values()):
            raise DataError(f"{source}: parts of {file} differ in split or group, but a task has one; make them equal")
        task: dict[str, Any] = {"data": {**fields, kind: address, **rate}}
        labels = [_result(kind, row.labels, ranges.get(path)) for path, row in own.items() if row.labels]
        guesses = [_result(kind, [*row.guesses], ranges.get(path)) for path, row in own.items() if row.guesses]
        if labels:
            # By default, Label Studio treats imported annotations as ground truth, which overrides later ones.
            task["annotations"] = [{"result": labels, "ground_truth": False}]
        if guesses:
            score = min(value for row in own.values() for value in row.guesses.values())
            task["predictions"] = [{"model_version": "texthead", "score": score, "result": guesses}]
        tasks.append(task)
    names = dict.fromkeys([*classes, *(name for row in rows.values() for name in (*row.labels, *row.guesses))])
    write_json(out, tasks)
    with replacing(config := out.with_suffix(".xml")) as temporary:
        temporary.write_text(_config(kind, [*names], timed=timed, multilabel=multilabel), encoding="utf-8")
    served = f"labelling configuration: {config}; set Label Studio's LOCAL_FILES_DOCUMENT_ROOT to {root}"
    return f"{out}: {len(tasks)} tasks, {sum('predictions' in task for task in tasks)} with predictions; {served}"


def _read(source: Path) -> tuple[dict[Path, _Row], bool]:
    """Return the rows by path, and whether files may have several labels.

    A file has a row of its own, or with predictions one for each of its best classes, of which those count that are
    chosen, else the first.
    """
    rows, multilabel = dict[Path, _Row](), False
    for line, row in manifest_rows(source, ("path",)):
        labels = split_labels(row.get("labels") or row.get("label", ""))
        multilabel |= len(labels) > 1 or not {"labels", "chosen", "guesses"}.isdisjoint(row)
        if not (source.parent / row["path"]).exists():  # Predictions name files from where they were made.
            row["path"] = os.path.abspath(row["path"])  # noqa: PTH100
        own = rows.setdefault(row_path(row, source, line), _Row([], {}, {}))
        own.labels.extend(labels)
        own.fields.update({key: row[key] for key in ("split", "group") if row.get(key)})
        guess = row.get("guesses") or row.get("guess") or row.get("name", "")
        taken = row["chosen"] == "yes" if "chosen" in row else row.get("rank", "1") == "1"
        if guess and taken and row.get("answer", guess) == guess:
            names = guess.split("; ") if "guesses" in row else [guess]
            own.guesses.update(dict.fromkeys(names, float(row["probability"])))
    if not rows:
        raise DataError(f"{source}: names no file; add rows")
    return rows, multilabel


def _ranges(file: Path, paths: Sequence[Path]) -> tuple[dict[Path, dict[str, int]], dict[str, float]]:
    """Return the first and last frame of each part, as the player numbers them, and the player's frame rate.

    Frames of the player are equal steps of time, numbered from 1.
    """
    with MediaPath(file).open() as media:
        times, seconds = [*media.times, media.duration_seconds], media.duration_seconds
        rate = round(media.num_frames / seconds, 3) if seconds else _RATE
    ranges = {}
    for path in paths:
        own = MediaPath(path).frames(times[:-1])
        start, end = (round(times[index] * rate) for index in (own.start, own.stop))
        ranges[path] = {"start": start + 1, "end": max(end, start + 1)}
    return ranges, {"frame_rate": rate}


def _result(kind: str, names: Sequence[str], span: dict[str, int] | None) -> dict[str, Any]:
    """Return the labels of a file, or of the frame range of a part."""
    control = {"from_name": "label", "to_name": kind}
    if span is None:
        return {**control, "type": "choices", "value": {"choices": [*names]}}
    value = {"ranges": [span], "timelinelabels": [*names]}
    return {**control, "id": f"{span['start']}-{span['end']}", "type": "timelinelabels", "value": value}


def _config(kind: str, classes: Sequence[str], *, timed: bool, multilabel: bool) -> str:
    """Return the labelling configuration: classes of an image or video, or of its frame ranges."""
    outer, inner = ("TimelineLabels", "Label") if timed else ("Choices", "Choice")
    names = "\n".join(f"    <{inner} value={quoteattr(name)}/>" for name in classes)
    player = ' frameRate="$frame_rate" timelineHeight="120"' if timed else ""
    media = f'<{kind.capitalize()} name="{kind}" value="${kind}"{player}/>'
    rule = ' choice="multiple"' if multilabel else "" if timed else ' choice="single" required="true"'
    return f'<View>\n  {media}\n  <{outer} name="label" toName="{kind}"{rule}>\n{names}\n  </{outer}>\n</View>\n'
