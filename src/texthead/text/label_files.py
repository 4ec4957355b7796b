"""Label files, `id,name`: the class names behind numbers or ids."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from texthead.errors import DataError
from texthead.files import read_text


@dataclass(frozen=True)
class LabelFile:
    """The ids and class names of a label file, row by row."""

    path: Path
    ids: tuple[str, ...]
    names: tuple[str, ...]

    def name_of(self, label: str) -> str:
        """The class name behind an id.

        Raises:
            DataError: an id that no row has.
        """
        if label not in self.ids:
            raise DataError(f"{self.path}: no row of {len(self.ids)} has the id {label!r}: add the row {label},NAME")
        return self.names[self.ids.index(label)]


def read_labels(path: Path) -> LabelFile:
    """The rows of a CSV with the columns `id,name`; or ImageNet's, where there is no such file but the word `imagenet`.

    Raises:
        DataError: no such file, no such columns, an empty field, or an id or a name that occurs twice.
    """
    if str(path) == "imagenet" and not path.is_file():
        return _imagenet_labels()
    try:
        reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
        columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        if not {"id", "name"} <= set(columns):
            found = ", ".join(columns) or "nothing"
            raise DataError(f"{path}: no label file; its first line must be id,name, found {found}")
        rows = [_label_row(row, path, reader.line_num) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path}: no such label file; give a CSV with the columns id,name") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable label file ({error}); save it as UTF-8 with a line id,name") from None
    if not rows:
        raise DataError(f"{path}: holds no class; give it one row a class")
    ids, names = zip(*rows, strict=True)
    for what, values in (("id", ids), ("name", names)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise DataError(f"{path}: {what} {value!r} occurs {count} times: each class needs its own")
    return LabelFile(path, ids, names)


def _imagenet_labels() -> LabelFile:
    """ImageNet's 1,000 classes by their WordNet ids: the first name, and with its definition where two share it."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    ids = [info.index_to_label_name(index) for index in range(1000)]
    first = [info.label_name_to_description(each).split(",")[0] for each in ids]
    counts = Counter(name.casefold() for name in first)
    detailed = [info.label_name_to_description(each, detailed=True) for each in ids]
    names = (one if counts[one.casefold()] == 1 else long for one, long in zip(first, detailed, strict=True))
    return LabelFile(Path("imagenet"), tuple(ids), tuple(names))


def _label_row(row: dict, path: Path, line: int) -> tuple[str, str]:
    if None in row or None in row.values():
        raise DataError(f"{path}:{line}: the row has not as many fields as the header; quote names with commas")
    if not row["id"].strip() or not row["name"].strip():
        raise DataError(f"{path}:{line}: id and name must not be empty")
    return row["id"].strip(), row["name"].strip()
