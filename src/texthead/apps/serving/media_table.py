"""A CSV with a row for each file or part of a video, such as the labels of a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from texthead import Dataset
from texthead.data import manifest_rows
from texthead.errors import DataError
from texthead.files import write_records
from texthead.media import MediaPath
from texthead.platform import sync_folder


class MediaTable:
    """Rows of a CSV by the resolved path of their file or part; each change is on disk before the call returns.

    The CSV need not exist. It is read again when somebody has edited it, and columns and rows of others stay. Two
    programs must not write to it at once (`in_turn`).

    Args:
        columns: those that the CSV must have.
        files: the only files and parts of files that rows may be of; None for any.
    """

    def __init__(self, csv: Path, columns: Sequence[str], files: Dataset | None = None):
        self.csv, self._columns, self._source = csv, columns, files and files.source
        self._rows: dict[MediaPath, dict[str, str]] = {}
        self._stamp: object = None
        self._files = {item.media.resolved() for item in files.items} if files else set()

    def read(self) -> dict[MediaPath, dict[str, str]]:
        """Return the current rows.

        Raises:
            DataError: the CSV cannot be read or written, or has a row of another file or two of one.
        """
        if self.csv.is_symlink() or (self.csv.exists() and not self.csv.is_file()):
            raise DataError(f"{self.csv}: is a link, a pipe, a device or a folder; use a file that ends in .csv")
        if (stamp := _stamp(self.csv)) == self._stamp:
            return self._rows
        rows: dict[MediaPath, dict[str, str]] = {}
        for row in manifest_rows(self.csv, self._columns) if stamp else ():
            media, where = MediaPath(row.path()).resolved(), f"{self.csv}:{row.line}: "
            if self._source is not None and self._files.isdisjoint((media, MediaPath(media.file))):
                other = f"labels {row.path()}, which is not in {self._source}"
                raise DataError(f"{where}{other}: pass the data that the labels belong to")
            if media in rows:
                raise DataError(f"{where}{row.cells['path']} is listed twice: list it once")
            rows[media] = row.cells
        self._rows, self._stamp = rows, stamp
        return rows

    def change(self, changes: Mapping[MediaPath, Mapping[str, str] | None]) -> None:
        """Change values of rows; their other columns stay. None removes a row."""
        rows = {**self.read()}
        for media, values in changes.items():
            key = media.resolved()
            if values is None:
                rows.pop(key, None)
            else:
                rows[key] = {"path": media.relative_to(self.csv.parent), **rows.get(key, {}), **values}
        if rows == self._rows:
            return
        if rows:
            write_records(self.csv, [*rows.values()])
        else:
            self.csv.unlink(missing_ok=True)  # An empty manifest would be an error.
        sync_folder(self.csv.parent)
        self._rows, self._stamp = rows, _stamp(self.csv)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when a file is rewritten; None if it does not exist."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
