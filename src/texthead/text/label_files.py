"""Label files: CSVs with the columns `id,name`, which map ids to class names."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from texthead.errors import DataError, raising
from texthead.files import read_text


@dataclass(frozen=True)
class ClassIds:
    """The ids and class names of a label file, in the order of its rows; `keyed` if a YAML file maps ids to names."""

    path: Path
    ids: tuple[str, ...]
    names: tuple[str, ...]
    keyed: bool = False

    def name_of(self, label: str) -> str:
        """Return the class name of an id.

        Raises:
            DataError: no row has this id.
        """
        if label not in self.ids:
            raise DataError(f"{self.path}: none of {len(self.ids)} rows has the id {label!r}; add the row {label},NAME")
        return self.names[self.ids.index(label)]


def read_labels(path: Path) -> ClassIds:
    """Read a CSV with the columns `id,name`. `imagenet` gives ImageNet's classes if there is no such file.

    Raises:
        DataError: the file or its columns are missing, a field is empty, or an id or a name occurs twice.
    """
    if str(path) == "imagenet" and not path.is_file():
        return _imagenet_labels()
    with raising(
        DataError, f"{path}: not a readable label file", "use a CSV in UTF-8 with the columns id,name", csv.Error
    ):
        reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
        columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        rows: list[tuple[str, str]] = []
        for row in reader if {"id", "name"} <= set(columns) else ():
            whole = None not in row and None not in row.values()
            rows += [(row["id"].strip(), row["name"].strip())] if whole else []
            if not whole or "" in rows[-1]:
                rule = "a row must have an id, a name and as many fields as the header; quote names with commas"
                raise DataError(f"{path}:{reader.line_num}: {rule}")
    if not rows:
        header = ", ".join(columns) or "empty"
        raise DataError(f"{path}: its first line is {header}; it must be id,name, with a row for each class below")
    return ids_of(path, rows)


def ids_of(path: Path, rows: Sequence[tuple[str, str]], *, keyed: bool = False) -> ClassIds:
    """Return pairs of an id and a name, of a file; raise DataError if an id or a name occurs twice."""
    ids, names = zip(*rows, strict=True)
    for what, values in (("id", ids), ("name", names)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise DataError(f"{path}: {what} {value!r} occurs {count} times: each class needs its own")
    return ClassIds(path, ids, names, keyed)


def imagenet_texts() -> tuple[list[str], list[str]]:
    """Return (first names, all names with WordNet definition) of the 1,000 ImageNet classes, in class order."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    full = [info.index_to_description(index, detailed=True) for index in range(1000)]
    return [text.split(":")[0].split(",")[0] for text in full], full


def _imagenet_labels() -> ClassIds:
    """Return ImageNet's 1,000 classes by WordNet id: the first name, with its definition if two classes share it."""
    from timm.data.imagenet_info import ImageNetInfo

    ids, (first, detailed) = tuple(map(ImageNetInfo().index_to_label_name, range(1000))), imagenet_texts()
    counts = Counter(name.casefold() for name in first)
    names = (one if counts[one.casefold()] == 1 else long for one, long in zip(first, detailed, strict=True))
    return ClassIds(Path("imagenet"), ids, tuple(names))
