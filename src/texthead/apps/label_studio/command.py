"""`texthead label-studio`: turn exports of Label Studio into a CSV, and a CSV into its tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import argument, check_outputs, console, option
from texthead.errors import DataError
from texthead.files import write_csv
from texthead.media import MediaPath
from texthead.text import read_names


@dataclass(frozen=True, kw_only=True)
class LabelStudio:
    """Turn a JSON export of Label Studio into a CSV, or a CSV into its tasks.

    From a .json, write the CSV that train, eval, doctor and label read. From a .csv with labels, predictions (texthead
    predict --out) or guesses (texthead label --next), write tasks, and beside them the labelling configuration (.xml).

    Args:
        file: a JSON export of Label Studio, or a CSV with the column path
        out: file to write: .csv from an export, .json from a CSV
        root: LOCAL_FILES_DOCUMENT_ROOT of Label Studio, if not the folder that holds the files
        classes: further classes to choose from: "a, b" or names.txt
    """

    NAME: ClassVar = "label-studio"
    JSON: ClassVar = "out"

    USAGE: ClassVar = (
        "texthead label-studio EXPORT.json --out labels.csv [options]\n"
        "       texthead label-studio FILE.csv --out tasks.json [options]"
    )

    file: str = argument("FILE")
    out: str = option(metavar="FILE.csv|.json")
    root: str | None = option(None, "FOLDER")
    classes: str | None = option(None, "NAMES")

    def check(self) -> None:
        """Raise DataError if a path does not exist, or the output is of the input's kind."""
        MediaPath(self.file).check()
        if self.root is not None and not Path(self.root).is_dir():
            raise DataError(f"--root {self.root}: no such folder; name the folder that Label Studio serves files from")
        check_outputs(self, out=".csv" if self._is_export else ".json")

    @property
    def _is_export(self) -> bool:
        return Path(self.file).suffix.lower() == ".json"

    def __call__(self) -> None:
        from texthead.apps.label_studio.formats import read_export, write_tasks

        source, out, root = Path(self.file), Path(self.out), self.root and Path(self.root)
        if self._is_export:
            (columns, *rows), notes = read_export(source, out.parent, root or source.parent)
            console.say_notes(*notes)
            write_csv(out, columns, rows)
            line = f"{out}: {len(rows)} labelled files and parts of files"
        else:
            classes = [] if self.classes is None else read_names(self.classes)
            line = write_tasks(source, out, root or None, classes)
        console.notes().print(line, markup=False)
        console.show_json({"out": self.out})
