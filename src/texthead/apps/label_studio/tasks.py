"""Write the files of a CSV as tasks of Label Studio, with labels and predictions, and the labelling configuration."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from texthead.apps.label_studio.exports import mean_rate
from texthead.data import manifest_rows, row_path, split_labels
from texthead.errors import DataError
from texthead.files import replacing, write_json
from texthead.media import MediaPath


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
        times, rate = [*media.times, media.duration_seconds], round(mean_rate(media), 3)
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
