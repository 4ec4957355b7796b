"""Labels in a CSV that several people write at once, and which file each of them is looking at."""

import fcntl
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import Dataset
from texthead.data.reading import manifest_rows, read_dataset, row_path
from texthead.errors import DataError, RunError
from texthead.files import replacing, sync_folder, write_csv
from texthead.media.paths import relative_below, resolved

# A file that was shown to somebody so many seconds ago is free again.
CLAIMED = 300.0

Row = dict[str, str]

# The column of labels that somebody looked at again.
_CHECKED = "checked"


class Mark(NamedTuple):
    """What is known of a file: its label, that it cannot be used, or neither; whether its label was looked at again."""

    label: str | None = None
    bad: bool = False
    checked: bool = False


class Labels(NamedTuple):
    """What is known of files, by position: their labels, which cannot be used, and whose label was looked at again."""

    of: Mapping[int, str]
    bad: frozenset[int]
    checked: frozenset[int]

    def mark(self, position: int) -> Mark:
        """Return what is known of one file."""
        return Mark(self.of.get(position), position in self.bad, position in self.checked)


def check_place(place: Path) -> None:
    """Raise DataError if labels cannot be written to a file of that name."""
    if place.suffix.lower() != ".csv":
        raise DataError(f"{place}: labels are written as CSV; name a file that ends in .csv")
    if place.exists() and not place.is_file():
        raise DataError(f"{place}: is no file; labels are written into one that ends in .csv")


def paths_in(place: Path, root: Path | None = None) -> list[Path]:
    """Return the paths that a CSV of labels and its list of bad files name; none where there is no such file.

    Args:
        place: the CSV, or a labelling tool's `.json`.
        root: the folder that paths of a `.json` begin in.

    Raises:
        DataError: one cannot be read.
    """
    if place.suffix.lower() == ".json":
        return [item.path for item in read_dataset(place, root=root).items] if place.exists() else []
    there = [each for each in (place, _bad(place)) if each.suffix.lower() == ".csv" and each.exists()]
    return [row_path(row, each, line) for each in there for line, row in manifest_rows(each, ("path",))]


def _bad(place: Path) -> Path:
    return place.with_name(f"{place.stem}.bad.csv")


class LabelFile:
    """The labels of some files on disk, each there before the call returns.

    Beside `labels.csv` (path,label,time,checked) lies `labels.bad.csv` (path,time) with the files that cannot be used.
    Any number of processes may have them open. Each change is made under a lock to what is on disk then, so that of two
    labels of a file the later one stays, and what somebody else wrote is kept, other columns too.

    Args:
        place: the CSV; it need not exist.
        files: what the labels are of.

    Raises:
        DataError: it cannot be read, or names another file.
        RunError: its folder cannot be written.
    """

    def __init__(self, place: Path, files: Dataset):
        check_place(place)
        paths = [item.path for item in files.items]
        self._claims = place.with_name(f".{place.name}.claims")
        self._lock = place.with_name(f".{place.name}.lock")
        self._labels = _Table(place, ("path", "label"), paths, files.source)
        self._bad = _Table(_bad(place), ("path",), paths, files.source)
        self._names = [relative_below(path, place.parent) for path in paths]
        self.read()

    def read(self) -> Labels:
        """Return what is on disk now."""
        with self._held():
            return self._read()

    def _read(self) -> Labels:
        rows, bad = self._labels.read(), self._bad.read()
        checked = frozenset(position for position, row in rows.items() if row.get(_CHECKED))
        return Labels({position: row["label"].strip() for position, row in rows.items()}, frozenset(bad), checked)

    def put(self, position: int, mark: Mark) -> Labels:
        """Write down what is known of a file, in place of what was before; a bad file has no label."""
        with self._held():
            if mark.label is None:
                self._labels.remove(position)
            else:
                self._labels.put(position, {"label": mark.label, _CHECKED: "yes" if mark.checked else ""})
            self._bad.put(position, {}) if mark.bad else self._bad.remove(position)
            return self._read()

    def rename(self, old: str, new: str) -> Labels:
        """Give all files of a label another, in one go."""
        with self._held():
            self._labels.rename(old, new)
            return self._read()

    def claim(self, who: str, position: int | None, *, seconds: float = CLAIMED) -> bool:
        """Take a file for somebody, who gives back what they had; False where somebody else has it. None takes none."""
        with self._held():
            claims = {name: claim for name, claim in self._live_claims().items() if claim[0] != who}
            if position is not None and self._names[position] in claims:
                return False
            if position is not None:
                claims[self._names[position]] = (who, time.time() + seconds)
            self._write_claims(claims)
            return True

    def renew(self, who: str, position: int, *, seconds: float = CLAIMED) -> None:
        """Keep a file for somebody who has it; nothing of one that they have no more."""
        with self._held():
            claims = self._live_claims()
            if claims.get(self._names[position], ("",))[0] == who:
                self._write_claims({**claims, self._names[position]: (who, time.time() + seconds)})

    def _write_claims(self, claims: Mapping[str, tuple[str, float]]) -> None:
        with replacing(self._claims, sync=False) as beside:
            beside.write_text(json.dumps(claims), encoding="utf-8", errors="surrogatepass")

    def claimed_by(self, who: str) -> int | None:
        """Return the position of the file that somebody is looking at, if there is one."""
        with self._held():
            own = [name for name, claim in self._live_claims().items() if claim[0] == who]
        return self._names.index(own[0]) if own and own[0] in self._names else None

    def claimed_by_others(self, who: str) -> set[int]:
        """Return the positions of the files that others are looking at."""
        with self._held():
            names = {name for name, claim in self._live_claims().items() if claim[0] != who}
        return {position for position, name in enumerate(self._names) if name in names} if names else set()

    def _live_claims(self) -> dict[str, tuple[str, float]]:
        try:
            found = json.loads(self._claims.read_text(encoding="utf-8", errors="surrogatepass"))
            live = {str(name): (str(who), float(until)) for name, (who, until) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # Nobody has begun, or it was cut short: all files are free.
        now = time.time()  # A claim from before the clock was set back is none.
        return {name: claim for name, claim in live.items() if now < claim[1] <= now + CLAIMED}

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Wait until no other process has the files."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise RunError(
                f"{self._lock.parent}: cannot be written ({error.strerror or error}); choose another"
            ) from None


class _Table:
    """Rows of a CSV, each of one of some files, read again when somebody else has written it."""

    def __init__(self, place: Path, columns: Sequence[str], paths: Sequence[Path], source: str):
        self._place = place
        self._needed = columns
        self._columns = [*columns, "time"]
        self._paths = paths
        self._source = source
        self._positions: dict[Path, int] | None = None
        self._known: dict[tuple[str, ...], int | None] = {}
        self._rows: dict[int, Row] = {}
        self._stamp: object = None

    def read(self) -> dict[int, Row]:
        """Return the row of each position, of the file as it is now."""
        stamp = _stamp(self._place)
        if stamp != self._stamp:
            self._rows = self._from_disk() if stamp else {}
            self._stamp = stamp
        return self._rows

    def _from_disk(self) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        for line, row in manifest_rows(self._place, self._needed):
            position = self._position(row, line)
            if position is None:
                raise DataError(
                    f"{self._place}:{line}: labels {row['path']}, which is not in {self._source}: name the data that "
                    "it is of"
                )
            if position in rows:
                raise DataError(f"{self._place}:{line}: {row['path']} is listed twice: list it once")
            rows[position] = row
            self._columns += [name for name in row if name not in self._columns]
        return rows

    def _position(self, row: Row, line: int) -> int | None:
        if self._positions is None:
            self._positions = {resolved(path): position for position, path in enumerate(self._paths)}
        name = tuple(row.get(column, "") for column in ("path", "start", "end"))
        if name not in self._known:
            path = row_path({**row, "path": row["path"].strip()}, self._place, line)
            self._known[name] = self._positions.get(resolved(path))
        return self._known[name]

    def put(self, position: int, values: Mapping[str, str]) -> None:
        """Write the row of a position, with the time, and keep its other columns."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        name = relative_below(self._paths[position], self._place.parent)
        row = {"path": name, **self.read().get(position, {}), **values, "time": now}
        self._columns += [key for key, value in values.items() if value and key not in self._columns]
        self._write({**self.read(), position: row})

    def rename(self, old: str, new: str) -> None:
        """Write the file with another label in place of one."""
        renamed = {
            position: {**row, "label": new} for position, row in self.read().items() if row["label"].strip() == old
        }
        if renamed:
            self._write({**self.read(), **renamed})

    def remove(self, position: int) -> None:
        """Write the file without the row of a position, if it has one."""
        if position in self.read():
            self._write({place: row for place, row in self.read().items() if place != position})

    def _write(self, rows: dict[int, Row]) -> None:
        if rows:
            write_csv(
                self._place, self._columns, [[row.get(key, "") for key in self._columns] for row in rows.values()]
            )
        else:
            self._place.unlink(missing_ok=True)  # A list of nothing is no manifest.
        sync_folder(self._place.parent)
        self._rows, self._stamp = rows, _stamp(self._place)


def _stamp(place: Path) -> tuple[int, int, int] | None:
    """Return what differs where a file was written again; None where there is none."""
    try:
        found = place.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
