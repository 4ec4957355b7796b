"""`texthead label`: label the files of a folder in the browser, the most useful ones first."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import argument, check_out_file, common, console, default_workers, option, say_better
from texthead.errors import DataError, NonNegativeInt, PositiveInt
from texthead.extras import check_extra
from texthead.files import csv_text, in_turn, unused
from texthead.media import MediaPath
from texthead.platform import quoted
from texthead.text import clean_names, read_classes

if TYPE_CHECKING:
    from texthead.apps.label.labelling import Pool


@dataclass(frozen=True, kw_only=True)
class Label:
    """Label the files of a folder in the browser, starting with those that help training most.

    Videos longer than 20 seconds are cut into windows of 2 to 10 seconds. With --next no page opens: label prints
    the files to label next as CSV (path, guess or with several classes guesses, probability).

    Args:
        data: a folder, or a CSV (path, optionally start, end, group)
        classes: classes to start with: "a, b", names.txt or classes.json
        multilabel: a file may have several classes, or none of them
        out: CSV file (path,label) to write labels to; existing labels are kept
        next: number of files to list instead of opening the page
    """

    JSON: ClassVar = "with --next: labelled, files, next [path, guess, probability]"

    data: str = argument("DATA")
    classes: str | None = option(None, "NAMES")
    multilabel: bool = False
    out: str | None = option(None, "FILE")
    next: PositiveInt | None = option(None, "N")
    encoder: str = common("encoder")
    text: str | None = common("text")
    port: NonNegativeInt = common("port")
    device: str = common("device")

    def check(self) -> None:
        """Raise DataError if DATA does not exist or options exclude each other."""
        MediaPath(self.data).check()
        if self.next is None and self.out is None:
            raise DataError("label needs --out labels.csv, the file to write labels to, or --next 20 to list files")
        if self.next is not None and self.classes is None and not (self.out and Path(self.out).exists()):
            raise DataError('no classes: pass some with --classes "a, b"')
        if self.next is None and console.prints_json():
            raise DataError("--json needs --next, such as --next 20")
        if self.next is None:
            check_out_file(f"--out {self.out}", Path(self.out or ""), ".csv")

    def __call__(self) -> None:
        if self.next is not None:
            self._list(self._pool(), self.next)
            return
        check_extra("ui", "texthead label")
        labels_csv = Path(self.out or "")
        # Two pages on one file would each miss what the other writes.
        with in_turn(labels_csv, wait=False):
            self._serve(self._pool(), labels_csv)
        if labels_csv.is_file():
            words = ("--out", unused(Path("run")))
            console.next_command("texthead", "train", labels_csv, *words, encoder=self.encoder, text=self.text)

    def _pool(self) -> "Pool":
        """Return the encoded files, with a line on those that cannot be read."""
        from texthead import EncoderOptions, ReadOptions
        from texthead.apps.label.labelling import label_pool
        from texthead.data import read_files
        from texthead.parallel import pick_device

        files = read_files(self.data)
        console.say_notes(*files.notes)
        say_better(self.data, self.encoder, "`--encoder {}` is probably better")
        console.status(f"loading the encoder {self.encoder}")
        pool = label_pool(
            files,
            [] if self.classes is None else [*read_classes(self.classes)],
            self.out,
            multilabel=self.multilabel,
            encoder=EncoderOptions(self.encoder, text=self.text, device=pick_device(self.device)),
            reading=ReadOptions(default_workers(files.paths), cache=True, skip_unreadable=True, engine="auto"),
            reporter=console.reporter,
        )
        if classes := pool.classes():
            names = clean_names(classes)
            console.say_names(classes, names)
            console.say_prompts(classes, names)
        console.say_skipped(pool.skipped)
        return pool

    def _list(self, pool: "Pool", count: int) -> None:
        """Print the files to label next."""
        console.status("choosing the next files")
        suggestions, labelled = pool.suggest(count), pool.labels.of
        files = len(pool.files) + len(pool.skipped)
        then = "; the next to label:" if suggestions else ""
        console.notes().print(f"{len(labelled)} of {files} files have labels{then}")
        if not console.prints_json():
            rows = [(path, names, f"{probability:.3f}") for path, names, probability in suggestions]
            guess = "guesses" if pool.multilabel else "guess"
            console.write(csv_text([("path", guess, "probability"), *rows], "\n"), end="")
        console.show_json(
            {
                "labelled": len(labelled),
                "files": files,
                "next": [dict(zip(("path", "guess", "probability"), each, strict=True)) for each in suggestions],
            }
        )
        if not suggestions and self.out and labelled:
            console.next_command("texthead", "train", self.out, "--out", unused(Path("run")), encoder=self.encoder)
            return
        # As they were written: a name from a file may have a comma. Those of the labels are in --out.
        classes = ["--classes", self.classes] if self.classes else []
        words = [self.data, *classes, *["--multilabel"] * pool.multilabel]
        words += ["--out", self.out or "labels.csv"]
        console.next_command("texthead", "label", *words, encoder=self.encoder, text=self.text)

    def _serve(self, pool: "Pool", labels_csv: Path) -> None:
        """Serve the page until it is interrupted."""
        import torch

        from texthead.apps.label.app import label_app
        from texthead.apps.label.session import LabelSession
        from texthead.apps.serving import listening, serve

        # The fits are small: more threads would only wait for each other.
        torch.set_num_threads(1)
        with listening(self.port) as server, closing(LabelSession(pool, labels_csv)) as session:
            words = ["texthead", "train", str(labels_csv), "--out", "run"]
            words += ["--encoder", self.encoder] if self.encoder != "mini" else []
            words += ["--text", self.text] if self.text else []
            serve(server, label_app(session, " ".join(map(quoted, words))))
