"""`texthead classes`: list the classes of a run, or write a run with classes added, renamed or removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import argument, check_outputs, common, console, extra, option
from texthead.errors import DataError, RunError
from texthead.runs import check_run, saved_classes
from texthead.text import check_names, clean_names, flat

if TYPE_CHECKING:
    from texthead import Run


@dataclass(frozen=True, kw_only=True)
class EditedOptions:
    """Folder of the edited run.

    Args:
        out: run folder to create; RUN stays as it is
    """

    JSON: ClassVar = "run, edit, classes"

    out: str = option(metavar="FOLDER", writes="/")

    def new_folder(self) -> Path:
        """Return the folder; raise RunError if it exists, DataError if it cannot be created."""
        if Path(self.out).exists():
            raise RunError(f"--out {self.out}: already exists; choose another folder, or remove it")
        check_outputs(self)
        return Path(self.out)


@dataclass(frozen=True, kw_only=True)
class ShowClasses:
    """List the classes of a run: labels, class names, prompts and rows."""

    NAME: ClassVar = "classes RUN list"
    JSON: ClassVar = "classes [label, name, prompt, row], edited"

    def show(self, run: Path) -> None:
        """Print the classes."""
        from rich.table import Table

        rows, edited = saved_classes(run)
        table = Table("", "label", "class name", "prompt", "row", title=f"{len(rows)} classes of {run}")
        for number, row in enumerate(rows, 1):
            prompt = "-" if row["prompt"] is None else " | ".join(flat([row["prompt"]]))
            table.add_row(str(number), console.cell(row["label"]), console.cell(row["name"]), prompt, row["row"])
        console.results().print(table)
        if edited:
            console.results().print(f"made from {edited['run']}: {'; '.join(edited['edits'])}")
        console.show_json({"classes": rows, "edited": edited})
        console.next_command("texthead", "predict", run, "FILE")


@dataclass(frozen=True, kw_only=True)
class AddClasses(EditedOptions):
    """Add classes, with rows made from text, after the others.

    Args:
        classes: class names, each an argument of its own
        sentence: text to encode instead of the name of one class; repeat it to average several
    """

    NAME: ClassVar = "classes RUN add"

    classes: list[str] = argument("NAME", nargs="+")
    sentence: list[str] | None = option(None, "TEXT", repeated=True)

    def edit(self, run: "Run") -> "Run":
        """Return the run with the classes added."""
        from texthead.apps.classes.class_edits import add_classes

        check_names(self.classes)
        for name in self.classes:
            if "," in name:
                raise DataError(f"name {name!r} contains a comma: pass each class as a separate argument")
        if self.sentence and len(self.classes) > 1:
            raise DataError(f"--sentence describes one NAME, got {len(self.classes)}; add each separately")
        tree = run.tree
        names = clean_names([own.split("/")[-1] if tree and tree.ancestors(own) else own for own in self.classes])
        added = add_classes(run, self.classes, names=names, prompts=[self.sentence] * len(names))
        clean_names(added.labels)  # Raises an error if a new name reads like an old one.
        _say_rows(added, self.classes, names)
        return added


@dataclass(frozen=True, kw_only=True)
class RenameClass(EditedOptions):
    """Rename a class. Its row stays, unless --sentence is given.

    Args:
        old: a class of the run
        new: its new name
        sentence: text to encode as the new row of the class; repeat it to average several
    """

    NAME: ClassVar = "classes RUN rename"

    old: str = argument("OLD")
    new: str = argument("NEW")
    sentence: list[str] | None = option(None, "TEXT", repeated=True)

    def edit(self, run: "Run") -> "Run":
        """Return the run with the class renamed."""
        from texthead.apps.classes.class_edits import rename_class

        (name,) = clean_names([self.new])
        renamed = rename_class(run, self.old, self.new, name=name, prompt=self.sentence)
        if self.sentence:
            _say_rows(renamed, [self.new], [name])
        return renamed


@dataclass(frozen=True, kw_only=True)
class RemoveClasses(EditedOptions):
    """Remove classes; at least one must remain.

    Args:
        classes: classes of the run
    """

    NAME: ClassVar = "classes RUN remove"

    classes: list[str] = argument("NAME", nargs="+")

    def edit(self, run: "Run") -> "Run":
        """Return the run without the classes."""
        from texthead.apps.classes.class_edits import remove_classes

        return remove_classes(run, self.classes)


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Show or edit the classes of a run.

    An edit writes a new run and leaves RUN and all other classes as they are.
    """

    USAGE: ClassVar = "texthead classes RUN [options]"  # Actions get their names from it.
    ACTIONS: ClassVar = (ShowClasses, AddClasses, RenameClass, RemoveClasses)

    run: str = common("run")
    action: ShowClasses | AddClasses | RenameClass | RemoveClasses = extra()

    def __call__(self) -> None:
        if isinstance(self.action, ShowClasses):
            self.action.show(Path(self.run))
            return
        check_run(self.run)

        console.status(f"loading {self.run}")
        from texthead import load_run
        from texthead.runs import CALIBRATION, rows_digest

        out = self.action.new_folder()
        run = self.action.edit(load_run(self.run, allow_download=False))
        run.save(out)
        rows = rows_digest(run.head.weight)
        if run.calibration is not None and run.calibration.classes != rows:
            console.say_notes(
                f"{CALIBRATION} was made for the classes before the edit: its temperature still applies, threshold "
                "and sets do not; calibrate again"
            )
        (edit,), count = run.edits, len(run.labels)
        console.results().print(f"{edit.text}; {count} {'class' if count == 1 else 'classes'} now")
        console.results().print(f"run: {out}")
        console.show_json({"run": out, "edit": edit.text, "classes": run.labels})
        console.next_command("texthead", "predict", out, "FILE")


def _say_rows(run: "Run", labels: Sequence[str], names: Sequence[str]) -> None:
    """Print the prompts of new rows, and notes on their names and on these rows."""
    assert run.classes is not None
    console.say_names(labels, names, None)
    by_class = [entry["prompt"] for entry in run.classes["classes"] if entry["label"] in labels]
    console.say_prompts(labels, by_class, run)
    if run.head.takes_text and not run.head.is_text:
        console.say_notes(
            "the new row is made from text alone, while the others were fitted to items; check the run with "
            "`texthead eval` on files of all classes"
        )
    elif not run.head.frozen:
        console.say_notes("the new row comes from text alone; the other rows were trained")
