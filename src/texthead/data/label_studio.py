"""Label Studio's JSON: its exports -> labelled files; files, labels and guesses -> tasks with pre-annotations."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from texthead.data.dataset import Item
from texthead.errors import DataError, listed
from texthead.files import replacing, write_json
from texthead.media.open import is_image, is_media

# A file, its label, split, group and other fields, as `Item` takes them.
Row = tuple[Path, str, str | None, str | None, tuple[tuple[str, str], ...]]

# The control that tasks are written for.
CONTROL = "label"

_LOCAL, _UPLOADS = "/data/local-files", "/data/upload/"

# What JSON-MIN adds to the data of a task.
_BOOKKEEPING = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}

# Where a JSON-MIN record has several fields: the control's name in our tasks, and in Label Studio's own templates.
_USUAL_CONTROLS = (CONTROL, "choice")


def are_tasks(value: object) -> bool:
    """Return whether the value of a JSON file is an export of Label Studio: tasks, or the records of JSON-MIN."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return False
    return isinstance(first.get("data"), dict) or "annotation_id" in first


def read_tasks(
    source: Path, value: Any, *, root: Path | None, split_names: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """Return the files of an export that have a label, and notes on tasks that have none.

    Cancelled annotations do not count. If annotations of a task disagree, those marked as ground truth decide. The
    fields `split` and `group` of a task's data are its split and group.

    Args:
        value: what the JSON file holds.
        root: the folder that Label Studio serves local files from; the file's own if None.
        split_names: what each known name of a split is called here.

    Raises:
        DataError: a task with several labels, a time range, an address, no file or several ones, or a split that is
            not known.
    """
    tasks = value if isinstance(value, list) else [value]
    start = source.parent if root is None else root
    rows: list[Row] = []
    controls: set[str] = set()
    unlabelled = decided = 0
    for task in _joined(source, tasks):
        votes = task.votes()
        if not votes:
            unlabelled += 1
            continue
        controls |= {vote.control for vote in votes}
        _check_controls(task.where, {vote.control for vote in votes})
        label, by_truth = _agreed(task, votes)
        decided += by_truth
        rows.append(_row(task, label, start, split_names))
    _check_controls(str(source), controls)
    notes = []
    if unlabelled:
        notes.append(f"{source}: {unlabelled} of {unlabelled + len(rows)} tasks have no label and are not used")
    if decided:
        notes.append(f"{source}: annotations of {decided} tasks disagree; those marked as ground truth are used")
    if rows and not any(_exists(row[0]) for row in rows):
        raise DataError(
            f"{source}: none of its files exists (of {len(rows)}, the first: {rows[0][0]}): give root, the folder that "
            "Label Studio serves local files from (LOCAL_FILES_DOCUMENT_ROOT)"
        )
    return rows, notes


@dataclass(frozen=True)
class _Vote:
    """A label that an annotation gives, by which control, and whether it is marked as ground truth."""

    label: str
    control: str
    truth: bool


@dataclass
class _Task:
    """A task: its name in messages, its data, and what its annotations hold."""

    where: str
    data: dict[str, Any]
    annotations: list[Any] = field(default_factory=list)
    flat: list[dict[str, Any]] = field(default_factory=list)

    def votes(self) -> list[_Vote]:
        """Return the labels of all annotations that were not cancelled.

        Raises:
            DataError: an annotation of another form, with several labels, or with a time range.
        """
        found: list[_Vote] = []
        for annotation in self.annotations:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result") or [], list):
                raise DataError(f"{self.where}: annotations must be objects with a list result; export as JSON again")
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                continue
            found += self._of_annotation(annotation)
        return found + [vote for record in self.flat if (vote := self._of_record(record))]

    def _of_annotation(self, annotation: dict[str, Any]) -> list[_Vote]:
        votes: list[_Vote] = []
        for result in annotation.get("result") or []:
            content = result.get("value") if isinstance(result, dict) else None
            if not isinstance(content, dict):
                raise DataError(f"{self.where}: a result must be an object with a value; export as JSON again")
            check_no_range(self.where, content)
            if "choices" in content:
                label = self._only(content["choices"])
                votes.append(_Vote(label, str(result.get("from_name")), annotation.get("ground_truth") is True))
        if len({vote.control for vote in votes}) == 1 < len(votes):
            self._only([vote.label for vote in votes])
        return votes

    def _of_record(self, record: dict[str, Any]) -> _Vote | None:
        controls = {name: content for name, content in record.items() if name not in self.data}
        for content in controls.values():
            for each in content if isinstance(content, list) else [content]:
                if isinstance(each, dict):
                    check_no_range(self.where, each)
        names = [name for name in controls if name in _USUAL_CONTROLS] if len(controls) > 1 else [*controls]
        if len(controls) > 1 and len(names) != 1:
            raise DataError(
                f"{self.where}: any of {listed([*controls])} may hold the label; export as JSON, not as JSON-MIN"
            )
        if not names or controls[names[0]] in (None, "", []):
            return None
        content = controls[names[0]]
        return _Vote(self._only(content.get("choices") if isinstance(content, dict) else content), names[0], False)

    def _only(self, choices: object) -> str:
        """Return the one choice of an annotation."""
        labels = [choices] if isinstance(choices, str) else choices
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(f"{self.where}: choices must be a list of names; export as JSON again")
        if len(labels) != 1:
            raise DataError(f"{self.where}: has {len(labels)} choices ({listed(labels)}): give each file one label")
        return labels[0]


def _joined(source: Path, tasks: Sequence[Any]) -> Iterator[_Task]:
    """Yield the tasks; records of JSON-MIN with the same id are one task."""
    flat: dict[str, _Task] = {}
    for place, task in enumerate(tasks, 1):
        if not isinstance(task, dict) or not are_tasks(task):
            raise DataError(f"{source}: entry {place} is no task with data; export the project as JSON or JSON-MIN")
        name = task.get("id")
        where = f"{source}: task {place if name is None else f'{place} (id {name})'}"
        if "data" in task:
            annotations = task.get("annotations", task.get("completions")) or []
            if not isinstance(annotations, list):
                raise DataError(f"{where}: annotations must be a list; export as JSON again")
            yield _Task(where, task["data"], annotations)
            continue
        if task.get("annotation_id") is None:
            flat.setdefault(str(place if name is None else name), _Task(where, {}))
            continue
        fields = {name: content for name, content in task.items() if name not in _BOOKKEEPING}
        data = {name: content for name, content in fields.items() if name in ("split", "group") or _is_source(content)}
        first = flat.setdefault(str(place if name is None else name), _Task(where, data))
        first.flat.append(fields)
    yield from flat.values()


def _agreed(task: _Task, votes: Sequence[_Vote]) -> tuple[str, bool]:
    """Return the label of a task, and whether annotations disagree and ground truth decided."""
    labels = sorted({vote.label for vote in votes})
    if len(labels) == 1:
        return labels[0], False
    true = sorted({vote.label for vote in votes if vote.truth})
    if len(true) != 1:
        raise DataError(
            f"{task.where}: annotations disagree ({listed(labels)}): mark one as ground truth, or remove the others"
        )
    return true[0], True


def _check_controls(where: str, controls: set[str]) -> None:
    if len(controls) > 1:
        raise DataError(
            f"{where}: choices of {len(controls)} controls ({listed(sorted(controls))}): keep the annotations of one"
        )


def check_no_range(where: str, content: Mapping[str, Any]) -> None:
    """Raise DataError if the value of an annotation is of a part of the file's time, and not of the whole file."""
    if {"start", "end", "ranges", "timelinelabels", "sequence"} & set(content):
        raise range_error(where)


def range_error(where: str) -> DataError:
    """Return the error of a label that is of a part of a file's time."""
    return DataError(f"{where}: labels a range of time; cut such parts into files, and label whole files")


def _parts(address: str) -> SplitResult:
    """Return the parts of an address; of what is none, a path alone."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", address, "", "")


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  # `Path.exists` raises for a name that is too long.


def _is_elsewhere(address: str) -> bool:
    return bool(_parts(address).netloc) and _path_of(address) == address


def _is_source(content: object) -> bool:
    """Return whether a field of a task's data names a video or image."""
    if not isinstance(content, str):
        return False
    return is_media(_parts(content).path if _is_elsewhere(content) else _path_of(content))


def _path_of(address: str) -> str:
    """Return the path behind an address of Label Studio or of a file; another address or path as it is.

    The server decodes `d` once, where the last value counts, and takes it from its document root.
    """
    parts = _parts(address)
    if parts.path.rstrip("/").endswith(_LOCAL) and "d" in (query := parse_qs(parts.query, errors="surrogateescape")):
        return os.path.normpath("/" + query["d"][-1]).lstrip("/")
    if _UPLOADS in parts.path:
        return unquote(parts.path.partition(_UPLOADS)[2])
    return unquote(parts.path, errors="surrogateescape") if parts.scheme == "file" else address


def _row(task: _Task, label: str, root: Path, split_names: Mapping[str, str]) -> Row:
    sources = [name for name, content in task.data.items() if _is_source(content)]
    if len(sources) > 1:
        sources = [name for name in sources if name in ("image", "video")] or sources
    if len(sources) != 1:
        has = f"{len(sources)} are {listed(sources)}" if sources else f"its fields are {listed([*task.data]) or 'none'}"
        raise DataError(f"{task.where}: data must name one video or image; {has}")
    path = _file(task.where, task.data[sources[0]], root)
    extra = tuple(
        (name, str(content))
        for name, content in task.data.items()
        if name not in (sources[0], "split", "group") and isinstance(content, str | int | float)
    )
    group = str(task.data.get("group") or "")
    return checked_row(task.where, path, label, group, split=task.data.get("split"), extra=extra, names=split_names)


def _file(where: str, address: str, root: Path) -> Path:
    if _is_elsewhere(address):
        raise DataError(f"{where}: {address} is an address: fetch the file, and write its path there, relative to root")
    path = _path_of(address)
    if "\0" in path:
        raise DataError(f"{where}: {path!r} is no path; correct it")
    if _UPLOADS in _parts(address).path:
        # As in Label Studio's media folder, in its folder of uploads, and alone.
        places = [root / "upload" / path, root / path, root / Path(path).name]
        return next((place for place in places if _exists(place)), places[0])
    return root / path


def checked_row(
    where: str,
    path: Path,
    label: str,
    group: str,
    *,
    split: object,
    extra: tuple[tuple[str, str], ...],
    names: Mapping[str, str],
) -> Row:
    """Return a row of a tool's JSON whose label and split are checked.

    Raises:
        DataError: an empty label, text that is no Unicode, or a split that is none of the names.
    """
    label = label.strip()
    if not label:
        raise DataError(f"{where}: the label is empty; give it a name")
    try:
        "".join((label, group, *(text for pair in extra for text in pair))).encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {label!r} or another field is no Unicode text; correct it") from None
    if not split:
        return path, label, None, group or None, extra
    if str(split).strip().lower() not in names:
        raise DataError(f"{where}: split must be train, val or test, got {split!r}")
    return path, label, names[str(split).strip().lower()], group or None, extra


# ---- Out


def media_kind(files: Iterable[Path], tool: str) -> str:
    """Return "image" or "video", the kind of all files.

    Raises:
        DataError: both kinds, or a clip of images, which the tool cannot show.
    """
    first: dict[str, Path] = {}
    for path in files:
        kind = "image" if is_image(path) else "video"
        if not path.is_file():
            other = "a folder of frames, a clip in shards or a part of a video"
            raise DataError(f"{path}: {tool} shows files, not {other}; leave it out")
        first.setdefault(kind, path)
    if len(first) > 1:
        some = " and ".join(map(str, first.values()))
        raise DataError(f"{tool} holds images or videos, not both ({some}): export them one after the other")
    return next(iter(first), "video")


def document_root(data: Path, files: Iterable[Path]) -> Path:
    """Return the folder that Label Studio must serve from: the one above DATA.

    Label Studio wants its storage in a folder below; of a manifest with files beside it, it is one more above.
    """
    root = Path(os.path.abspath(data)).parent  # noqa: PTH100  # Links stay as they are.
    beside = not data.is_dir() and any(Path(os.path.abspath(path)).parent == root for path in files)  # noqa: PTH100
    return root.parent if beside else root


def write_tasks(
    path: Path,
    items: Sequence[Item],
    guesses: Mapping[Path, tuple[str, float]],
    classes: Sequence[str],
    *,
    root: Path,
    model: str,
) -> Path:
    """Write tasks, and the labelling configuration beside them; return the configuration's path.

    Labels are annotations, guesses are predictions (name, probability).

    Args:
        items: an empty label is none.
        root: Label Studio's document root, which paths are relative to.
        model: the name that predictions have.

    Raises:
        DataError: files of two kinds, or outside the root.
        RunError: the files cannot be written.
    """
    kind = media_kind((item.path for item in items), "a Label Studio project")
    tasks: list[dict[str, Any]] = []
    for item in items:
        others = {name: value for name, value in item.extra if name not in ("image", "video")}
        data = {**others, kind: _address(item.path, root)}
        data |= {name: value for name, value in (("split", item.split), ("group", item.group)) if value}
        task: dict[str, Any] = {"data": data}
        if item.label:
            # Label Studio takes imported annotations for ground truth otherwise, which would outvote later ones.
            task["annotations"] = [{"result": [_choice(kind, item.label)], "ground_truth": False}]
        if item.path in guesses:
            name, probability = guesses[item.path]
            score = round(probability, 6)
            task["predictions"] = [{"model_version": model, "score": score, "result": [_choice(kind, name)]}]
        tasks.append(task)
    names = [*dict.fromkeys([*classes, *(item.label for item in items if item.label)])]
    write_json(path, tasks)
    config = path.with_suffix(".xml")
    with replacing(config) as beside:
        beside.write_text(labelling_config(kind, names), encoding="utf-8")
    return config


def labelling_config(kind: str, classes: Sequence[str]) -> str:
    """Return the labelling configuration of a project: one choice of the classes for an image or a video."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    shown = f'<{kind.capitalize()} name="{kind}" value="${kind}"/>'
    control = f'<Choices name="{CONTROL}" toName="{kind}" choice="single" required="true">'
    return f"<View>\n  {shown}\n  {control}\n{choices}\n  </Choices>\n</View>\n"


def _choice(kind: str, name: str) -> dict[str, Any]:
    return {"from_name": CONTROL, "to_name": kind, "type": "choices", "value": {"choices": [name]}}


def _address(path: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    if not absolute.is_relative_to(root):
        raise DataError(f"{path}: not below {root}, which Label Studio would serve; put the files below it")
    # A name on disk may be no UTF-8, which Label Studio's addresses cannot hold.
    return f"{_LOCAL}/?d={quote(os.fsencode(absolute.relative_to(root)))}"
