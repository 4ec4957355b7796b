"""`texthead doctor`: find what is wrong with a dataset, as text, JSON or HTML, and write a list of the sound items."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import common, console, default_workers, option
from texthead.data import check_source
from texthead.errors import DataError, NonNegativeInt, listed, on_one_line
from texthead.files import unused
from texthead.text import read_classes


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Find faults in labelled data: unreadable files, copies, leaks between splits, wrong labels and bad class names.

    The exit code is 1 for a serious fault, such as an unreadable file, a file in two splits or under two labels, or a
    class without a training item; otherwise it is 0.

    Args:
        quick: check files, splits and class names only, without an encoder
        out: folder to write doctor.json and doctor.html to
        fix: new CSV file without unreadable files, copies and leaks
    """

    JSON: ClassVar = (
        "source, items, classes, notes, counts, serious, findings [severity, fault, about, detail, paths], "
        "left_out [path, why]"
    )

    data: str = common("data")
    quick: bool = False
    out: str | None = option(None, "FOLDER", writes="/")
    fix: str | None = option(None, "NEW.csv", writes=".csv")
    classes: str | None = common("classes")
    encoder: str = common("encoder")
    workers: NonNegativeInt | None = common("workers")
    device: str = common("device")

    def check(self) -> None:
        """Raise DataError if DATA does not exist, or --fix names a file that does."""
        check_source(self.data)
        if self.fix and Path(self.fix).exists():
            raise DataError(f"--fix {self.fix}: must be a new .csv file; existing files are not changed")

    def __call__(self) -> int:
        """Return the exit code."""
        console.status(f"reading {self.data}")
        from texthead import EncoderOptions, ReadOptions, read_dataset
        from texthead.apps.doctor.examine import diagnose
        from texthead.data import join_labels
        from texthead.parallel import pick_device

        fix = None if self.fix is None else Path(self.fix)
        dataset = read_dataset(self.data)
        console.say_notes(*dataset.notes)
        if fix:
            join_labels(dataset.classes)  # Raises an error for a name that a CSV would divide.
        console.status("comparing files, splits and names")
        diagnosis = diagnose(
            dataset,
            read_classes(self.classes) if self.classes else None,
            EncoderOptions(self.encoder, device=pick_device(self.device)),
            quick=self.quick,
            reading=ReadOptions(default_workers(wanted=self.workers), cache=True, engine="auto"),
            reporter=console.reporter,
        )
        for line in diagnosis.summary():
            console.results().print(on_one_line(line))
        for (severity, fault), group in diagnosis.groups().items():  # The summary names a single one.
            for finding in group if len(group) > 1 else ():
                line = f"{severity}, {fault}: {finding.about}: {finding.detail}"
                console.details().print(console.with_flags(on_one_line(line)))
        console.status("writing the report")
        page = diagnosis.write(self.out) if self.out else None
        if page:
            console.results().print(f"report: {page}")
        elif diagnosis.findings:
            console.notes().print("more: --verbose prints all findings, --out FOLDER a page")
        console.show_json(diagnosis.to_json())
        if fix:
            items, left_out = dataset.items, diagnosis.left_out
            count = diagnosis.write_clean_list(fix)
            if dataset.tree:
                console.say_notes(f"{fix} has no tree: for broader names train on a YAML file with it and the tree")
            for position, why in left_out.items():
                console.details().print(f"left out: {items[position].path}: {why}")
            names = listed([items[position].path.name for position in left_out], 3)
            console.results().print(
                f"{fix}: {count} of {len(items)} items; {len(left_out)} left out{f': {names}' * bool(names)}"
            )
        serious = [each for each in diagnosis.findings if each.severity == "serious"]
        remain = [each for each in serious if {*each.items}.isdisjoint(diagnosis.left_out)]  # Even after --fix.
        if not serious or (fix and not remain):
            data, run = fix or self.data, unused(Path("run"))
            console.next_command("texthead", "train", data, "--out", run, encoder=self.encoder)
        elif diagnosis.left_out and not fix:
            clean = unused(Path("clean.csv"))
            console.next_command("texthead", "doctor", self.data, "--fix", clean, encoder=self.encoder)
        return int(bool(serious))
