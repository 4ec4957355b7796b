"""Label Studio: its JSON exports as a CSV, and a CSV as its tasks, with the labelling configuration."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from texthead.data import join_labels, manifest_rows, split_labels
from texthead.errors import DataError, naming, raising
from texthead.files import MAX_BYTES_OF_LISTS, read_value, replacing, write_csv, write_json
from texthead.media import MediaPath, Span

# The first and last frame of a labelled range, numbered from 1; None for the whole file.
Range = tuple[int, int] | None

# Frames that Label Studio's player counts in a second if its Video tag does not say, whatever the video has. So a frame
# is a time: frames 1 to 24 are the part from 0 to 1 s.
_RATE = 24.0


# ---- exports


def write_labels(source: Path, out: Path, root: Path) -> str:
    """Write the labels in an export to a CSV; return a line on it.

    Files have several labels if any annotation has several choices.

    Args:
        root: the folder that paths in the export are relative to.

    Raises:
        DataError: the file is not an export, or a task breaks a rule.
    """
    rows, unlabelled, unrated = list[tuple[str, ...]](), 0, 0
    damage, remedy = (AttributeError, KeyError, TypeError), "export the project as JSON, not JSON-MIN"
    with raising(DataError, f"{source}: cannot be read as an export of Label Studio", remedy, *damage):
        for number, task in enumerate(read_value(source, most=MAX_BYTES_OF_LISTS), 1):
            with naming(f"{source}: task {task.get('id', number)}"):
                labels, data = _labels(task), task["data"]
                file, rate = _file(data, root), float(data.get("frame_rate") or 0)
                unlabelled += not labels
                unrated += not rate and any(labels)
                about = [str(data.get(key) or "") for key in ("split", "group")]
                for frames, names in labels.items():
                    span = Span()
                    if frames:
                        first, last = (frame / (rate or _RATE) for frame in (frames[0] - 1, frames[1]))
                        with raising(DataError, f"frames {frames[0]} to {frames[1]}", "correct the range"):
                            span = Span.read(f"{first:.3f}", f"{last:.3f}")
                    rows.append((MediaPath(file).relative_to(out.parent), *span.cells(), join_labels(names), *about))
    if not rows:
        raise DataError(f"{source}: none of its files has a label; label some, and export again")
    column = "labels" if any(";" in row[3] for row in rows) else "label"
    write_csv(out, ("path", "start", "end", column, "split", "group"), rows)
    note = f"; {unrated} tasks have no `frame_rate`: {_RATE:g} per second are assumed, Label Studio's default"
    lost = f"; {unlabelled} files without a label are not written"
    return f"{out}: {len(rows)} labelled files and parts of files{lost}{note if unrated else ''}"


def _labels(task: dict[str, Any]) -> dict[Range, set[str]]:
    """Return the labels of each labelled range of a task, or of its file.

    Cancelled annotations are ignored. If annotations differ, those marked as ground truth count.
    """
    annotations = [each for each in task.get("annotations") or [] if not each.get("was_cancelled")]
    annotations = [each for each in annotations if each.get("ground_truth")] or annotations
    answers = [_answer(each["result"]) for each in annotations]
    if any(answer != answers[0] for answer in answers):
        raise DataError(f"{len(answers)} annotations differ; mark one as ground truth, or remove the others")
    return answers[0] if answers else {}


def _answer(results: list[dict[str, Any]]) -> dict[Range, set[str]]:
    """Return the labels in an annotation."""
    labels = dict[Range, set[str]]()
    for result in results:
        value = result["value"]
        names = value.get("choices") or value.get("timelinelabels")
        if not names:
            raise DataError(f"a label of type {result.get('type')!r} is for no file or range of frames; remove it")
        for each in value.get("ranges", [None]):
            labels.setdefault(each and (each["start"], each["end"]), set()).update(names)
    if None in labels and len(labels) > 1:
        raise DataError("has labels for the whole file and for ranges; keep those of one kind")
    return labels


def _file(data: dict[str, Any], root: Path) -> Path:
    """Return the file of a task, from an address of Label Studio or a path."""
    address = data.get("video") or data.get("image") or ""
    if (url := urlsplit(address)).path.endswith("/data/local-files/"):
        return root / parse_qs(url.query, errors="surrogateescape")["d"][-1].lstrip("/")
    if url.netloc or not address:
        raise DataError(f"`video` or `image` must be a local file, got {address!r}; download it and correct it")
    return root / (unquote(url.path.partition("/data/upload/")[2]) or address)


# ---- tasks

# Columns of class names: labels, then the predictions of `label --next` and of `predict --out`.
_COLUMNS = ("labels", "label", "guesses", "guess", "name")


def write_tasks(source: Path, out: Path, root: Path) -> str:
    """Write the tasks, and beside them the labelling configuration; return a line on how to import them.

    Labels become annotations, guesses become predictions. If any row is a part of a video, tasks have frame ranges.

    Args:
        root: the folder that Label Studio serves files from.

    Raises:
        DataError: there are images and videos, or files that are not in `root`, or a file is listed twice, or its parts
            have different splits or groups.
        MediaError: a video with a part to its end cannot be read.
    """
    rows, root = _read(source), Path(os.path.abspath(root))  # noqa: PTH100 - keeps links
    kinds = {"image" if path.is_image else "video" for path in rows}
    if len(kinds) != 1:
        raise DataError(f"{source}: a project of Label Studio has images or videos, not both; remove one kind")
    (kind,), timed, multilabel = kinds, any(path.is_part for path in rows), False
    tasks, classes = dict[Path, dict[str, Any]](), dict[str, None]()
    for path, row in rows.items():
        if not (path.file.is_relative_to(root) and path.file.is_file()):
            raise DataError(f"{path.file}: no file below {root}; correct the path, or name a folder above it as `root`")
        address = f"/data/local-files/?d={quote(os.fsencode(path.file.relative_to(root).as_posix()))}"
        data = {key: row[key] for key in ("split", "group") if row.get(key)} | {kind: address}
        data |= {"frame_rate": _RATE} if timed else {}
        task = tasks.setdefault(path.file, {"data": data})
        if task["data"] != data:
            raise DataError(f"{source}: parts of {path.file} differ in split or group; make them equal")
        column = next((each for each in _COLUMNS if each in row), "")
        names = split_labels(row.get(column, "")) if row.get("chosen") != "no" else ()
        multilabel |= len(names) > 1 or column in ("labels", "guesses") or "chosen" in row
        classes |= dict.fromkeys(names)
        if names:
            if column.startswith("label"):
                # By default, Label Studio treats imported annotations as ground truth, which overrides later ones.
                answer = task.setdefault("annotations", [{"result": [], "ground_truth": False}])[0]
            else:
                answer = task.setdefault("predictions", [{"result": [], "model_version": "texthead", "score": 1.0}])[0]
                with raising(DataError, f"{source}: {path} has no probability", "predict again", KeyError):
                    answer["score"] = min(answer["score"], float(row["probability"]))
            answer["result"].append(_result(path, kind, names, timed=timed))
    write_json(out, [*tasks.values()])
    control, choice = ("TimelineLabels", "Label") if timed else ("Choices", "Choice")
    choices = "\n".join(f"    <{choice} value={quoteattr(name)}/>" for name in classes)
    media = f'<{kind.capitalize()} name="{kind}" value="${kind}"/>'
    rule = "multiple" if multilabel else "single"
    control = f'<{control} name="label" toName="{kind}" choice="{rule}">\n{choices}\n  </{control}>'
    with replacing(config := out.with_suffix(".xml")) as temporary:
        temporary.write_text(f"<View>\n  {media}\n  {control}\n</View>\n", encoding="utf-8")
    return f"{out}: {len(tasks)} tasks; configuration: {config}; set LOCAL_FILES_DOCUMENT_ROOT to {root}"


def _read(source: Path) -> dict[MediaPath, dict[str, str]]:
    """Return the rows of a CSV by absolute path; of the predictions of a file, the best class, or all chosen ones."""
    rows = dict[MediaPath, dict[str, str]]()
    for row in manifest_rows(source, ("path",)):
        path = MediaPath(os.path.abspath(row.path()))  # noqa: PTH100 - keeps links
        first, own = rows.setdefault(path, row.cells), row.cells
        if first is not own and own.get("rank", "1") == "1":
            raise DataError(f"{source}:{row.line}: {path} is listed twice; list it once")
        if first is not own and own.get("chosen") == "yes":  # The least probable one comes last.
            first |= {"name": f"{first['name']}; {own['name']}", "probability": own["probability"]}
    return rows


def _result(path: MediaPath, kind: str, names: Sequence[str], *, timed: bool) -> dict[str, Any]:
    """Return the labels of a file, or of the frame range of a part."""
    about = {"id": path.times or "file", "from_name": "label", "to_name": kind}
    if not timed:
        return {**about, "type": "choices", "value": {"choices": names}}
    first, last = path.span
    if math.isinf(last):
        with MediaPath(path.file).open() as media:
            last = media.duration_seconds
    start = round(first * _RATE) + 1
    frames = {"start": start, "end": max(round(last * _RATE), start)}
    return {**about, "type": "timelinelabels", "value": {"timelinelabels": names, "ranges": [frames]}}
