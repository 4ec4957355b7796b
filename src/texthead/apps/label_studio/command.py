"""`texthead label-studio`: turn exports of Label Studio into a CSV, and a CSV into its tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import argument, console, option
from texthead.media import MediaPath


@dataclass(frozen=True, kw_only=True)
class LabelStudio:
    """Turn a JSON export of Label Studio into a CSV, or a CSV into its tasks.

    From a .json, write the CSV that train, eval, doctor and label read. From a .csv with labels, predictions (texthead
    predict --out) or guesses (texthead label --next), write tasks, and beside them the labelling configuration (.xml).

    Args:
        file: a JSON export of Label Studio, or a CSV with the column path
        out: file to write: .csv from an export, .json from a CSV
        root: LOCAL_FILES_DOCUMENT_ROOT of Label Studio, if not the folder of FILE
    """

    NAME: ClassVar = "label-studio"
    JSON: ClassVar = "out"

    file: str = argument("FILE")
    out: str = option(metavar="FILE.csv|.json", writes=".csv .json")
    root: str | None = option(None, "FOLDER")

    def check(self) -> None:
        """Raise DataError if the file does not exist."""
        MediaPath(self.file).check()

    def __call__(self) -> None:
        from texthead.apps.label_studio.formats import write_labels, write_tasks

        source, out = Path(self.file), Path(self.out)
        write = write_labels if out.suffix.lower() == ".csv" else write_tasks
        console.notes().print(write(source, out, Path(self.root or source.parent)), markup=False)
        console.show_json({"out": self.out})
