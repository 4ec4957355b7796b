"""`texthead classes`: list the classes of a run, or write a run with classes added, renamed or removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from texthead.cli import argument, common, console, option
from texthead.errors import DataError, RunError
from texthead.runs import check_run, saved_classes
from texthead.text import check_names, clean_names, flat

if TYPE_CHECKING:
    from texthead import Run


@dataclass(frozen=True, kw_only=True)
class Classes:
    """List, add, rename or remove the classes of a run.

    An edit writes a new run and leaves RUN and all other classes as they are. Added classes have rows made from text
    and stand after the others; a renamed class keeps its row, unless --sentence is given.

    Args:
        action: list, add, rename or remove
        names: class names, each a separate argument; for rename the old and the new name
        sentence: text to encode instead of the name of one class; repeat it to average several
        out: run folder to create; RUN stays as it is
    """

    JSON: ClassVar = "run, edit, classes; for list: classes [label, name, prompt, row], edited"
    USAGE: ClassVar = "texthead classes RUN list|add|rename|remove [NAME...] [options]"

    run: str = common("run")
    action: Literal["list", "add", "rename", "remove"] = argument("ACTION")
    names: list[str] = argument("NAME", nargs="*")
    sentence: list[str] | None = option(None, "TEXT", repeated=True)
    out: str | None = option(None, "FOLDER", writes="/")

    def check(self) -> None:
        """Raise DataError if names or options do not fit the action, RunError if RUN is not a run or --out exists."""
        takes, fits = {
            "list": ("no NAME, --sentence or --out", not (self.names or self.out or self.sentence)),
            "add": ("NAME..., or one NAME with --sentence", len(self.names) == 1 or (self.names and not self.sentence)),
            "rename": ("OLD NEW", len(self.names) == 2),
            "remove": ("NAME..., without --sentence", self.names and not self.sentence),
        }[self.action]
        if not fits:
            raise DataError(f"classes {self.run} {self.action} takes {takes}")
        if self.out is None and self.action != "list":
            raise DataError(f"classes {self.run} {self.action} needs --out FOLDER, the run folder to create")
        if self.out is not None and Path(self.out).exists():
            raise RunError(f"--out {self.out}: already exists; choose another folder, or remove it")
        check_run(self.run)

    def __call__(self) -> None:
        if self.out is None:
            self._show()
            return
        console.status(f"loading {self.run}")
        from texthead import load_run
        from texthead.runs import CALIBRATION, rows_digest

        run = self._edited(load_run(self.run, allow_download=False))
        run.save(self.out)
        rows = rows_digest(run.head.weight)
        if run.calibration is not None and run.calibration.classes != rows:
            console.say_notes(
                f"{CALIBRATION} was made for the classes before the edit: its temperature still applies, threshold "
                "and sets do not; calibrate again"
            )
        (edit,), count = run.edits, len(run.labels)
        console.results().print(f"{edit.text}; {count} {'class' if count == 1 else 'classes'} now")
        console.results().print(f"run: {self.out}")
        console.show_json({"run": self.out, "edit": edit.text, "classes": run.labels})
        console.next_command("texthead", "predict", self.out, "FILE")

    def _show(self) -> None:
        """Print the classes: labels, class names, prompts and rows."""
        from rich.table import Table

        rows, edited = saved_classes(Path(self.run))
        table = Table("", "label", "class name", "prompt", "row", title=f"{len(rows)} classes of {self.run}")
        for number, row in enumerate(rows, 1):
            prompt = "-" if row["prompt"] is None else " | ".join(flat([row["prompt"]]))
            table.add_row(str(number), console.cell(row["label"]), console.cell(row["name"]), prompt, row["row"])
        console.results().print(table)
        if edited:
            console.results().print(f"made from {edited['run']}: {'; '.join(edited['edits'])}")
        console.show_json({"classes": rows, "edited": edited})
        console.next_command("texthead", "predict", self.run, "FILE")

    def _edited(self, run: "Run") -> "Run":
        """Return the run with classes added, renamed or removed; print the prompts of new rows."""
        from texthead.apps.classes.class_edits import add_classes, remove_classes, rename_class

        if self.action == "remove":
            return remove_classes(run, self.names)
        if self.action == "rename":
            old, new = self.names
            (name,) = clean_names([new])
            renamed = rename_class(run, old, new, name=name, prompt=self.sentence)
            if self.sentence:
                _say_rows(renamed, [new], [name])
            return renamed
        check_names(self.names)
        for name in self.names:
            if "," in name:
                raise DataError(f"name {name!r} contains a comma: pass each class as a separate argument")
        tree = run.tree
        names = clean_names([own.split("/")[-1] if tree and tree.ancestors(own) else own for own in self.names])
        added = add_classes(run, self.names, names=names, prompts=[self.sentence] * len(names))
        clean_names(added.labels)  # Raises an error if a new name reads like an old one.
        _say_rows(added, self.names, names)
        return added


def _say_rows(run: "Run", labels: Sequence[str], names: Sequence[str]) -> None:
    """Print the prompts of new rows, and notes on their names and on these rows."""
    assert run.classes is not None
    console.say_names(labels, names)
    by_class = [entry["prompt"] for entry in run.classes["classes"] if entry["label"] in labels]
    console.say_prompts(labels, by_class, run)
    if run.head.takes_text and not run.head.is_text:
        console.say_notes(
            "the new row is made from text alone, while the others were fitted to items; check the run with "
            "`texthead eval` on files of all classes"
        )
    elif not run.head.frozen:
        console.say_notes("the new row comes from text alone; the other rows were trained")
