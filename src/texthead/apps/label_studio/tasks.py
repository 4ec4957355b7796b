"""Read Label Studio's JSON exports as labelled files and parts of files."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from texthead.data import SPLIT_NAMES, Dataset
from texthead.errors import DataError, listed
from texthead.files import MOST_BYTES_OF_LISTS, read_value, without_twins
from texthead.media import MediaPath, Span

# Path, class names, split, group and extra fields.
TaskRow = tuple[Path, tuple[str, ...], str | None, str | None, tuple[tuple[str, str], ...]]

# The name of the labelling control in tasks that we write.
CONTROL = "label"

# Extra data of a task with ranges: the player's frame rate, and the exact times, which frame numbers would round.
RATE, PARTS = "frame_rate", "parts"

# Keys of a result's value that mark a time range.
_TIMES = {"start", "end", "ranges", "timelinelabels", "sequence"}

LOCAL, _UPLOADS = "/data/local-files", "/data/upload/"


def _is_task(value: Any) -> bool:
    """Return whether a value of a JSON file is a task of Label Studio."""
    return isinstance(value, dict) and isinstance(value.get("data"), dict)


def accepts(source: str) -> bool:
    """Return whether the source is a `.json` file."""
    return source.lower().endswith(".json") and Path(source).is_file()


def read(source: str, root: Path | None = None) -> Dataset:
    """Return the labelled files and parts of files of an export.

    Args:
        root: the folder that Label Studio serves local files from; the file's own if None.

    Raises:
        DataError: the file is no export, no file has a label, or a task breaks a rule.
    """
    path = Path(source)
    try:
        value = read_value(path, most=MOST_BYTES_OF_LISTS, pairs=without_twins)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it again") from None
    if root is not None and not root.is_dir():
        raise DataError(f"{root}: no such folder; `root` must be the folder that the paths in {path} are relative to")
    tasks = value if isinstance(value, list) else [value]
    if not (tasks and _is_task(tasks[0])):
        raise DataError(f"{path}: unknown JSON; expected a JSON export of Label Studio, not JSON-MIN")
    rows, notes = _read_tasks(path, tasks, root)
    if not rows:
        raise DataError(f"{path}: none of its files has a label; label some, and export again")
    return Dataset.of_rows(path, rows, notes)


def _read_tasks(source: Path, values: Sequence[Any], root: Path | None) -> tuple[list[tuple], list[str]]:
    """Return the labelled files and parts of files of an export, as rows for `Dataset.of_rows`, and notes for the user.

    Labels are several if any annotation has several choices for a file or range; then an annotation of a file without
    choices means that it has none. Cancelled annotations are ignored. If the annotations of a task disagree, those
    marked as ground truth are used. The fields `split` and `group` of a task's data are its split and group. Ranges in
    frames are converted to times with the frame times of the file.

    Raises:
        DataError: a task has labels for both file and ranges, a remote address, no file or several, a range of a file
            that is not a video, or an unknown split.
    """
    tasks = [*_tasks(source, values)]
    root = source.parent if root is None else root
    rows: list[TaskRow] = []
    unlabelled = decided_by_truth = assumed_rates = 0
    answers = [task.votes() for task in tasks]
    controls = sorted({vote.control for votes in answers for vote in votes if vote.names})
    if len(controls) > 1:
        raise DataError(
            f"{source}: labels from {len(controls)} controls ({listed(controls)}); keep the annotations of one"
        )
    several = any(len(vote.names) > 1 for votes in answers for vote in votes)
    only_named = not several or any(vote.range_ for votes in answers for vote in votes)
    for task, every in zip(tasks, answers, strict=True):
        votes = [vote for vote in every if vote.names or not only_named]
        if not votes:
            unlabelled += 1
            continue
        labels, by_truth = _agreed(task, votes)
        decided_by_truth += by_truth
        assumed_rates += RATE not in task.data and any(range_ and range_.in_frames for range_ in labels)
        rows += _rows(task, labels, root)
    notes = []
    if unlabelled:
        notes.append(f"{source}: {unlabelled} of {len(tasks)} tasks have no label and are not used")
    if assumed_rates:
        notes.append(
            f"{source}: ranges of {assumed_rates} tasks are in frames; they are right only if the frameRate of the "
            "Video tag (24 by default) equals the videos' frame rate"
        )
    if decided_by_truth:
        notes.append(
            f"{source}: annotations of {decided_by_truth} tasks disagree; those marked as ground truth are used"
        )
    if rows and not any(_exists(MediaPath(row[0]).file) for row in rows):
        raise DataError(
            f"{source}: none of its {len(rows)} files exists (the first: {rows[0][0]}); give `root`, the folder that "
            "Label Studio serves local files from (LOCAL_FILES_DOCUMENT_ROOT)"
        )
    return [(path, names if several else names[0], *more) for path, names, *more in rows], notes


class Range(NamedTuple):
    """A labelled range of a video: its first and last frame, numbered from 1, or its start and end in seconds."""

    start: float
    end: float
    in_frames: bool


def _range_of(where: str, start: object, end: object, *, in_frames: bool) -> Range:
    """Return the range from `start` to `end`.

    Raises:
        DataError: an end is not a finite number, or not a whole number of frames.
    """
    ends = [value for value in (start, end) if isinstance(value, int | float) and -math.inf < value < math.inf]
    if len(ends) < 2 or (in_frames and any(value != int(value) for value in ends)):
        unit = "whole numbers of frames" if in_frames else "seconds"
        raise DataError(f"{where}: a range must have start and end in {unit}, got {start!r:.80} and {end!r:.80}")
    return Range(ends[0], ends[1], in_frames)


@dataclass(frozen=True)
class _Vote:
    """The labels that an annotation gives a file or range, their control, and whether they are the ground truth."""

    names: tuple[str, ...]
    control: str
    truth: bool
    range_: Range | None = None


@dataclass
class _Task:
    """A task: its name in messages, its data and its annotations."""

    where: str
    data: dict[str, Any]
    annotations: list[Any]

    def votes(self) -> list[_Vote]:
        """Return the labels of all annotations that were not cancelled; one that has none gives no names.

        Raises:
            DataError: an annotation is malformed, or there are labels for the file and for ranges.
        """
        votes: list[_Vote] = []
        for annotation in self.annotations:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result") or [], list):
                raise DataError(f"{self.where}: annotations must be objects with a list result; export as JSON again")
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                continue
            votes += self._of_annotation(annotation)
        if any(vote.range_ for vote in votes):
            votes = [vote for vote in votes if vote.names]
        if 0 < sum(vote.range_ is None for vote in votes) < len(votes):
            raise DataError(
                f"{self.where}: has a label for the whole file and labels for ranges of it; keep one or the other"
            )
        return votes

    def _of_annotation(self, annotation: dict[str, Any]) -> list[_Vote]:
        merged = defaultdict[tuple[str, Range | None], set[str]](set)
        for result in annotation.get("result") or []:
            content = result.get("value") if isinstance(result, dict) else None
            if not isinstance(content, dict):
                raise DataError(
                    f"{self.where}: a result must be an object with an object under 'value', got {result!r:.80}; "
                    "export as JSON again"
                )
            names, ranges = [], []
            if _TIMES & set(content):
                names, ranges = self._ranges(content)
            elif "choices" in content:
                names, ranges = self._names(content["choices"]), [None]
            for range_ in ranges:
                merged[str(result.get("from_name")), range_].update(names)
        truth = annotation.get("ground_truth") is True
        votes = [_Vote(tuple(sorted(names)), control, truth, range_) for (control, range_), names in merged.items()]
        return votes or [_Vote((), "", truth)]

    def _ranges(self, content: dict[str, Any]) -> tuple[list[str], list[Range]]:
        """Return the labels of a result and their ranges: frames of a timeline, or seconds of a region."""
        in_frames = "ranges" in content
        ranges = content["ranges"] if in_frames else [content]
        labels = content.get("timelinelabels" if in_frames else "labels")
        valid = isinstance(ranges, list) and all(isinstance(each, dict) and "start" in each for each in ranges)
        if not valid or not isinstance(labels, list) or "text" in content:
            raise DataError(
                f"{self.where}: a label for part of a file must be of TimelineLabels, or of Labels with start and end, "
                f"got {content!r:.80}; label whole files or time ranges"
            )
        if not labels:
            raise DataError(f"{self.where}: has 0 choices; give each file or range a label")
        ends = [(each.get("start"), each.get("end")) for each in ranges]
        return self._names(labels), [_range_of(self.where, *each, in_frames=in_frames) for each in ends]

    def _names(self, labels: Any) -> list[str]:
        """Return the labels that are chosen."""
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(f"{self.where}: choices must be a list of names, got {labels!r:.80}; export as JSON again")
        return [label.strip() for label in labels]


def _tasks(source: Path, tasks: Sequence[Any]) -> Iterator[_Task]:
    """Yield the tasks."""
    for number, task in enumerate(tasks, 1):
        if not _is_task(task):
            raise DataError(f"{source}: entry {number} is not a task with data; export the project as JSON")
        name = task.get("id")
        where = f"{source}: task {number if name is None else f'{number} (id {name})'}"
        annotations = task.get("annotations", task.get("completions")) or []
        if not isinstance(annotations, list):
            raise DataError(f"{where}: annotations must be a list, got {annotations!r:.80}; export as JSON again")
        yield _Task(where, task["data"], annotations)


def _agreed(task: _Task, votes: Sequence[_Vote]) -> tuple[dict[Range | None, tuple[str, ...]], bool]:
    """Return the labels of each range of a task, or of its file, and whether ground truth decided a disagreement."""
    by_range = _by_range(votes)
    truth = _by_range([vote for vote in votes if vote.truth])
    by_truth = bool(truth) and truth != by_range
    by_range = truth if by_truth else by_range
    for labels in by_range.values():
        if len(labels) > 1:
            different = listed([" and ".join(names) or "no label" for names in labels])
            raise DataError(
                f"{task.where}: annotations disagree ({different}); mark one as ground truth, or remove the others"
            )
    return {range_: labels[0] for range_, labels in by_range.items()}, by_truth


def _by_range(votes: Iterable[_Vote]) -> dict[Range | None, list[tuple[str, ...]]]:
    labels: dict[Range | None, set[tuple[str, ...]]] = defaultdict(set)
    for vote in votes:
        labels[vote.range_].add(vote.names)
    return {range_: sorted(names) for range_, names in labels.items()}


# ---- frames of a video, numbered from 1, and parts of it


class Frames:
    """The frames of a video as labelling tools number them: from 1, ranges including both ends."""

    def __init__(self, file: Path):
        with MediaPath(file).open() as media:
            self.file, self.times = file, [*media.times]
            self.rate = media.num_frames / media.duration_seconds if media.duration_seconds else 0.0

    def numbers(self, part: Path) -> tuple[int, int]:
        """Return the first and the last frame of a part of the video, or of the whole video.

        Raises:
            MediaError: the part contains no frame.
        """
        within = MediaPath(part).frames(self.times)
        return within.start + 1, within.stop

    def part(self, span: Range) -> Path:
        """Return the part of the video with the frames of a range.

        The range may end up to a second late: players count frames by the longest stream of a file, which may be the
        sound.

        Raises:
            ValueError: frames outside the video.
        """
        first, last, count = int(span.start), int(span.end), len(self.times)
        if not 1 <= first <= min(last, count) or last > count + self.rate:
            raise ValueError(
                f"frames {first} to {last} are not all within 1 to {count}, the frames of the video; correct the "
                "range, or the frame rate in Label Studio"
            )
        # Parts have times in milliseconds.
        end = math.inf if last >= count else round(self.times[last], 3)
        return MediaPath(self.file).part(Span(round(self.times[first - 1], 3) if first > 1 else 0.0, end)).path


def _labelled_parts(
    where: str, file: Path, labels: Mapping[Range | None, tuple[str, ...]], known: object
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield (path, class names) for each labelled range of a file, or for the whole file.

    Args:
        known: if a list, the original names of the parts, such as `#t=3,7.5`. A range with exactly the frames of such a
            part gets its name, which preserves times that lie between frames.

    Raises:
        DataError: a range breaks a rule, the file is not a video, or it must be read and cannot be.
    """
    if None in labels:
        yield file, labels[None]
        return
    try:
        MediaPath(file).part(Span(0.0, 1.0)).check_part()
        if any(range_ and range_.in_frames for range_ in labels) and not _exists(file):
            raise DataError(
                f"{where}: {file} does not exist, but its frame times are needed, since its ranges are in frames; give "
                "`root`, the folder that paths start from"
            )
        paths = _part_paths(file, [range_ for range_ in labels if range_], known)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    yield from zip(paths, labels.values(), strict=True)


def _part_paths(file: Path, label_ranges: Sequence[Range], known: object) -> list[Path]:
    if not any(range_.in_frames for range_ in label_ranges):
        return [MediaPath(file).part(Span.read(str(range_.start), str(range_.end))).path for range_ in label_ranges]
    frames = Frames(file)
    names = [name for name in known if isinstance(name, str)] if isinstance(known, list) else []
    parts = [path for path in (Path(f"{file}{name}") for name in names) if MediaPath(path).file == file]
    by_numbers = {frames.numbers(path): path for path in parts}
    paths = [frames.part(range_) for range_ in label_ranges]
    return [by_numbers.get(frames.numbers(path), path) for path in paths]


# ---- paths and rows


def _split(address: str) -> SplitResult:
    """Split an address; if it cannot be parsed, only a path."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", address, "", "")


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  # `Path.exists` raises if a name is too long.


def _is_elsewhere(address: str) -> bool:
    return bool(_split(address).netloc) and _path_of(address) == address


def _is_source(content: object) -> bool:
    """Return whether a field of a task's data names a video or image."""
    if not isinstance(content, str):
        return False
    return MediaPath(_split(content).path if _is_elsewhere(content) else _path_of(content)).is_media


def _path_of(address: str) -> str:
    """Return the path in a Label Studio or file address; other addresses and paths unchanged.

    The server decodes the last `d` parameter once, relative to its document root.
    """
    url = _split(address)
    if url.path.rstrip("/").endswith(LOCAL) and "d" in (query := parse_qs(url.query, errors="surrogateescape")):
        return os.path.normpath("/" + query["d"][-1]).lstrip("/")
    if _UPLOADS in url.path:
        return unquote(url.path.partition(_UPLOADS)[2])
    return unquote(url.path, errors="surrogateescape") if url.scheme == "file" else address


def _rows(task: _Task, labels: Mapping[Range | None, tuple[str, ...]], root: Path) -> Iterator[TaskRow]:
    sources = [name for name, content in task.data.items() if _is_source(content)]
    if len(sources) > 1:
        sources = [name for name in sources if name in ("image", "video")] or sources
    if len(sources) != 1:
        fields = f"{len(sources)}: {listed(sources)}" if sources else f"fields {listed([*task.data]) or 'none'}"
        raise DataError(f"{task.where}: data must name one video or image, got {fields}")
    known = task.data.get(PARTS)
    ours = {sources[0], "split", "group"} | ({RATE} if isinstance(known, list) else set())
    extra = tuple(
        (name, str(content))
        for name, content in task.data.items()
        if name not in ours and isinstance(content, str | int | float)
    )
    group, split = task.data.get("group"), task.data.get("split")
    if not (group is None or isinstance(group, str | int | float)):
        raise DataError(f"{task.where}: group must be text or a number, got {group!r:.80}; correct it")
    if split and str(split).strip().lower() not in SPLIT_NAMES:
        raise DataError(f"{task.where}: column 'split' must be train, val or test, got {split!r}")
    group, split = str(group or ""), SPLIT_NAMES[str(split).strip().lower()] if split else None
    file = _file(task.where, task.data[sources[0]], root)
    for path, names in _labelled_parts(task.where, file, labels, known):
        if "" in names:
            raise DataError(f"{task.where}: the label is empty; give it a name")
        try:
            "".join((*names, group, *(text for pair in extra for text in pair))).encode()
        except UnicodeEncodeError:
            problem = f"{', '.join(names)!r} or another field is not valid Unicode; correct it"
            raise DataError(f"{task.where}: {problem}") from None
        yield path, names, split, group or None, extra


def _file(where: str, address: str, root: Path) -> Path:
    if _is_elsewhere(address):
        raise DataError(
            f"{where}: {address} is a remote address; download the file, and replace the address with its path, "
            "relative to `root`"
        )
    path = _path_of(address)
    if "\0" in path:
        raise DataError(f"{where}: {path!r} is not a path; correct it")
    if _UPLOADS in _split(address).path:
        # Below Label Studio's media folder, below its upload folder, or the file alone.
        candidates = [root / "upload" / path, root / path, root / Path(path).name]
        return next((path for path in candidates if _exists(path)), candidates[0])
    return root / path


def document_root(data: Path, files: Iterable[Path]) -> Path:
    """Return the folder that Label Studio must serve from: the parent of DATA.

    Label Studio's storage must lie in a subfolder, so for a manifest with files next to it, it is the grandparent.
    """
    root = Path(os.path.abspath(data)).parent  # noqa: PTH100  # Links are not resolved.
    beside = not data.is_dir() and any(Path(os.path.abspath(path)).parent == root for path in files)  # noqa: PTH100
    return root.parent if beside else root
