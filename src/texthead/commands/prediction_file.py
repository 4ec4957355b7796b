"""A CSV or JSON-lines file of predictions that is written as they come and that a later call continues."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from texthead.errors import DataError, raising
from texthead.evaluation.calibration import Calibration
from texthead.files import csv_text, read_json, replacing, write_json
from texthead.prediction.predictions import Prediction, csv_rows, json_entry


class PredictionFile:
    """A file of predictions: CSV with `columns`, or JSON lines, as its ending says.

    Each prediction is written in one call, so that an interruption leaves at most a half-written last line. That line
    is dropped, with what else there is of its file, as are the rows of the last file if there are too few. Errors are
    dropped too, since their files may have been repaired.

    Args:
        request: all that predictions depend on besides the files, as JSON values, with `top` and `labels`. It is
            written to `.NAME.json` beside the file, which is continued only with the same.

    Attributes:
        done: the paths of the predictions that the file has.

    Raises:
        DataError: there is such a file with other content, or begun with another request.
        RunError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        request: Mapping[str, Any],
        calibration: Calibration | None = None,
    ):
        self._columns, self._calibration, self._is_csv = columns, calibration, path.suffix.lower() == ".csv"
        kept = self._complete(path, min_rows=min(request["top"], len(request["labels"])))
        _mark(path, request, begun=bool(kept))
        self.done = {name for name, _ in kept}
        with replacing(path) as temporary:
            header = [csv_text([columns])] if self._is_csv else []
            temporary.write_bytes("".join([*header, *(line for _, line in kept)]).encode("utf-8", "surrogateescape"))
        self._file = path.open("ab", buffering=0)

    def write(self, prediction: Prediction) -> None:
        """Add a prediction: its rows, or its line."""
        text = (
            csv_text(csv_rows(prediction, self._columns))
            if self._is_csv
            else json.dumps(json_entry(prediction, self._calibration), ensure_ascii=False) + "\n"
        )
        data = text.encode("utf-8", "surrogateescape")
        if (count := self._file.write(data)) < len(data):
            self._file.write(data[count:])  # The disk is full, which only this call says.
        self.done.add(str(prediction.path))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _complete(self, path: Path, min_rows: int) -> list[tuple[str, str]]:
        """Return (path, line) of the predictions in the file that are complete and no errors.

        Args:
            min_rows: the fewest rows of a whole prediction in a CSV.
        """
        if not path.exists():
            return []
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        kinds = KeyError, TypeError, IndexError, csv.Error
        with raising(DataError, f"{path}: is no file of predictions", "name another file", *kinds):
            if not self._is_csv:
                lines = [f"{line}\n" for line in text.split("\n")[:-1]]
                entries = [(entry["path"], "error" in entry) for entry in map(json.loads, lines)]
                return [(name, line) for (name, error), line in zip(entries, lines, strict=True) if not error]
            rows = [*csv.reader(io.StringIO(text, newline=""))]
            if cut := bool(rows) and not text.endswith("\n"):
                rows.pop()
            if rows and rows[0] != [*self._columns]:
                raise DataError(f"{path}: has other columns, {','.join(rows[0])[:200]}; name another file")
            error = self._columns.index("error")
            last = [row for row in rows[1:] if row[0] == rows[-1][0]]
            if cut or len(last) < min_rows:
                del rows[len(rows) - len(last) :]
            return [(row[0], csv_text([row])) for row in rows[1:] if not row[error]]


def _mark(path: Path, request: Mapping[str, Any], *, begun: bool) -> None:
    """Write the request of a new file beside it; raise DataError if one that is begun has another."""
    mark, request = path.with_name(f".{path.name}.json"), json.loads(json.dumps(request))
    if not begun:
        return write_json(mark, request)
    if not mark.exists():
        raise DataError(f"{path}: {mark.name}, which records how it was started, is missing; name another file")
    old = read_json(mark)
    if differ := [key for key in request if old.get(key) != request[key]]:
        raise DataError(
            f"{path}: was started with different {', '.join(differ)}; use the same again, or name another file"
        )
    return None
