"""`texthead classes`: show the classes of a run, or write a run with classes added, renamed, removed or merged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import DownloadOptions, TemplateOptions, local_run
from texthead.commands.outputs import check_folder
from texthead.commands.parser import argument, extra, option
from texthead.errors import DataError, RunError
from texthead.runs.saved import check_run, saved_classes
from texthead.text import prompts
from texthead.text.class_names import check_names, clean_names

if TYPE_CHECKING:
    from texthead.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class EditedOptions:
    """Where an edited run goes.

    Args:
        out: the run folder to make; RUN stays as it is
    """

    out: str = option(metavar="FOLDER")

    def new_folder(self) -> Path:
        """Return the folder; raise RunError if it exists, DataError if it cannot be made."""
        if Path(self.out).exists():
            raise RunError(f"--out {self.out}: exists already. Choose another folder, or remove it")
        check_folder(f"--out {self.out}", Path(self.out))
        return Path(self.out)


@dataclass(frozen=True, kw_only=True)
class RowOptions(TemplateOptions):
    """What the row of a class is made from.

    Args:
        sentence: what the row is made from, for one class; given several times, the rows are averaged
        template: prompt with exactly one {}; the run's own if not given
        names: how labels become class names
    """

    sentence: list[str] | None = option(None, "TEXT", repeated=True)


@dataclass(frozen=True, kw_only=True)
class ShowClasses:
    """Labels, prompts, rows.

    Args:
        json: JSON on standard output
    """

    NAME: ClassVar = "classes RUN list"

    json: bool = False

    def show(self, run: Path) -> None:
        """Print the classes."""
        from rich.table import Table

        from texthead.commands.console import results

        rows, edited = saved_classes(run)
        if self.json:
            print(json.dumps({"classes": rows, "edited": edited}, indent=1, ensure_ascii=False))
            return
        table = Table("", "label", "class name", "prompt", "row", title=f"{len(rows)} classes of {run}")
        for place, row in enumerate(rows, 1):
            prompt = "-" if row["prompt"] is None else " | ".join(prompts.flat([row["prompt"]]))
            table.add_row(str(place), row["label"], row["name"], prompt, row["row"])
        results().print(table)
        if edited:
            results().print(f"made from {edited['run']}: {'; '.join(edited['edits'])}")


@dataclass(frozen=True, kw_only=True)
class AddClasses:
    """Text rows for more classes, behind the others.

    Args:
        classes: class names, each an argument of its own
        from_: instead of names: names.txt, or classes.json of name: sentence, [sentences] or null
    """

    NAME: ClassVar = "classes RUN add"

    classes: list[str] = argument("NAME", nargs="*")
    from_: str | None = option(None, "FILE")
    row: RowOptions = RowOptions()
    edited: EditedOptions

    def edit(self, run: "Run") -> "Run":
        """Return the run with the classes added."""
        from texthead.commands.console import say_names
        from texthead.runs.class_edits import add_classes

        sentences = self._sentences()
        labels = list(sentences)
        names = self.row.names_for(labels)
        added = add_classes(
            run, labels, names=names, template=self.row.read_template(), prompts=list(sentences.values())
        )
        if self.row.clean:
            clean_names(added.labels)  # Nor may a new one read like one that is there.
        say_names(labels, names, None)
        _say_rows(added, labels)
        return added

    def _sentences(self) -> dict[str, tuple[str, ...] | None]:
        """Return the classes to add, each with its sentences or None."""
        if bool(self.classes) == (self.from_ is not None):
            raise DataError("name the classes to add, or name a file of them by --from: one of the two")
        if self.from_ is not None:
            if self.row.sentence:
                raise DataError("--sentence makes the row of one NAME: with --from, put sentences into the .json")
            if not Path(self.from_).is_file():
                raise DataError(f"--from {self.from_}: no such file; give a names.txt, a CSV with id,name or a .json")
            sentences = prompts.read_classes(self.from_)
        else:
            check_names(self.classes)
            for name in self.classes:
                if "," in name:
                    raise DataError(f"name {name!r} holds a comma: give every class as an argument of its own")
            sentences = dict.fromkeys(self.classes)
        if self.row.sentence:
            if len(sentences) > 1:
                raise DataError(f"--sentence makes the row of one NAME, got {len(sentences)}: add each by itself")
            sentences = {self.classes[0]: tuple(self.row.sentence)}
        prompts.check_template_fills(self.row.template, sentences)
        return sentences


@dataclass(frozen=True, kw_only=True)
class RenameClass:
    """Another label for a class: what predictions say. Its row stays without --encode and --sentence.

    Args:
        old: a class of the run
        new: what to call it
        encode: make the row anew from NEW
    """

    NAME: ClassVar = "classes RUN rename"

    old: str = argument("OLD")
    new: str = argument("NEW")
    encode: bool = False
    row: RowOptions = RowOptions()
    edited: EditedOptions

    def edit(self, run: "Run") -> "Run":
        """Return the run with the class renamed."""
        from texthead.commands.console import say_names
        from texthead.runs.class_edits import rename_class

        anew = self.encode or bool(self.row.sentence)
        self.row.check_used(anew, "--encode")
        (name,) = self.row.names_for([self.new])
        if not anew:
            return rename_class(run, self.old, self.new, name=name)
        sentences = tuple(self.row.sentence) if self.row.sentence else None
        prompts.check_template_fills(self.row.template, {self.new: sentences})
        template = self.row.read_template()
        renamed = rename_class(run, self.old, self.new, name=name, encode=True, template=template, prompt=sentences)
        say_names([self.new], [name], None)
        _say_rows(renamed, [self.new])
        return renamed


@dataclass(frozen=True, kw_only=True)
class RemoveClasses:
    """Fewer classes; at least one stays.

    Args:
        classes: classes of the run
    """

    NAME: ClassVar = "classes RUN remove"

    classes: list[str] = argument("NAME", nargs="+")
    edited: EditedOptions

    def edit(self, run: "Run") -> "Run":
        """Return the run without the classes."""
        from texthead.runs.class_edits import remove_classes

        return remove_classes(run, self.classes)


@dataclass(frozen=True, kw_only=True)
class MergeClasses:
    """Several classes as one, whose row is the mean of theirs.

    Args:
        classes: classes of the run, at least two
        into: what to call it: one of them, or a new name
    """

    NAME: ClassVar = "classes RUN merge"

    classes: list[str] = argument("NAME", nargs="+")
    into: str = option(metavar="NAME")
    edited: EditedOptions

    def edit(self, run: "Run") -> "Run":
        """Return the run with the classes merged."""
        from texthead.runs.class_edits import merge_classes

        return merge_classes(run, self.classes, self.into)


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Show or edit the classes of a run.

    texthead classes RUN list|add|rename|remove|merge. An edit writes another run, in which all other classes are the
    same.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]
    """

    USAGE: ClassVar = "texthead classes RUN [options]"  # Actions get their names from it.
    ACTIONS: ClassVar = (ShowClasses, AddClasses, RenameClass, RemoveClasses, MergeClasses)

    run: str = argument("RUN", read=local_run)
    downloads: DownloadOptions = DownloadOptions()
    action: ShowClasses | AddClasses | RenameClass | RemoveClasses | MergeClasses = extra()

    def __call__(self) -> None:
        if isinstance(self.action, ShowClasses):
            self.action.show(Path(self.run))
            return
        check_run(self.run)

        from texthead.commands.console import notes, results
        from texthead.runs.class_edits import save_classes
        from texthead.runs.folder import rows_digest
        from texthead.runs.run import CALIBRATION, load_run

        out = self.action.edited.new_folder()
        run = self.action.edit(load_run(self.run, allow_download=self.downloads.allow_download))
        save_classes(run, out)
        rows = rows_digest(run.head.weight)
        if run.calibration is not None and run.calibration.classes != rows:
            notes().print(
                f"note: {CALIBRATION} was made with the classes as they were: its temperature stays, threshold and "
                "sets do not hold; calibrate again"
            )
        (edit,), count = run.edits, len(run.labels)
        results().print(f"{edit.text}; {count} {'class' if count == 1 else 'classes'} now")
        results().print(f"run: {out}")


def _say_rows(run: "Run", labels: Sequence[str]) -> None:
    """Print the prompts of new rows, and notes on these rows."""
    from texthead.commands.console import notes, say_prompts, say_residual

    assert run.classes is not None
    by_label = {entry["label"]: entry["prompt"] for entry in run.classes["classes"]}
    shown = [by_label[label] for label in labels]
    say_prompts(labels, shown)
    say_residual(run, shown)
    if run.head.takes_text and not run.head.is_text:
        notes().print(
            "note: no item speaks for the new row, which is text; the others were fitted to items. `texthead eval` on "
            "files of all classes tells how they go together"
        )
    elif not run.head.frozen:
        notes().print("note: the other rows were trained after they were text; a new one is text as it is encoded")
