"""`texthead predict`: predict the classes of files, with a run or zero-shot."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.flag_names import with_flags
from texthead.cli.model import ModelOptions
from texthead.cli.options import ReadingOptions, common
from texthead.cli.parser import option
from texthead.errors import DataError, PositiveInt, listed, on_one_line, plural
from texthead.media.paths import MediaPath

if TYPE_CHECKING:
    from texthead.evaluation.calibration import Calibration
    from texthead.prediction.predictions import Prediction


@dataclass(frozen=True, kw_only=True)
class Predict(ModelOptions, ReadingOptions):
    """Predict the classes of videos and images.

    With a run, choose among its classes, or those of --classes; without a run, --classes is required (zero-shot).
    match.mp4#t=3,7.5 is a part of a video, in seconds; 'folder/*' is one clip of frames. The exit code is 1 if files
    cannot be read, which are listed, and 0 with --skip-unreadable.

    Args:
        inputs: a run folder or hub:ORG/NAME, then files, folders, CSV or YAML files; or only these
        top: classes per file (default: 5; for more than five files 2)
        sets: also print prediction sets, which contain the true class at the calibrated coverage
        unlabelled: files like those to predict, scored with them as one batch
        out: file to write predictions to, as they come: .csv or .jsonl
    """

    JSON: ClassVar = (
        "a list of path, top [name, probability], temperature, answer, answer_probability, labels, set, error"
    )

    USAGE: ClassVar = "texthead predict [RUN] FILE_OR_FOLDER... [--classes NAMES] [options]"

    top: PositiveInt | None = option(None, "N")
    sets: bool = False
    unlabelled: str | None = option(None, "FILES")
    out: str | None = option(None, "FILE", writes=".csv .jsonl")
    encoder: str | None = common("encoder without a run")
    text: str | None = common("text")
    at_least: float | None = common("at_least")
    views: str = common("views")

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        if self.out and console.prints_json():
            raise DataError("--json and --out exclude each other: use one")
        if self.out and Path(self.out).exists():
            raise DataError(f"--out {self.out}: already exists; name another file, or remove it")
        for path in self.run_and_files("file or folder")[1]:
            if Path(path).suffix.lower() == ".txt" and Path(path).is_file():
                raise DataError(
                    f"{path} is a list, not a video or image: write it as a CSV with a column 'path', or use "
                    "`texthead bulk`, which takes a .txt with one path per line"
                )

    def __call__(self) -> int:
        """Return the exit code."""
        from texthead.data.reading import listed_files
        from texthead.prediction.load import cache_encoder_graph
        from texthead.prediction.predictions import csv_columns, json_entry

        run_folder, named = self.run_and_files("file or folder")
        inputs = [file for path in named for file in listed_files(path)]
        run = self.load(run_folder, self.pick_device())
        protocol = run.protocol.with_views(self.views)
        # The threshold holds for files that are scored alone.
        calibration = None if self.unlabelled else self.noted_calibration(run, protocol)
        if self.at_least is not None:
            calibration = run.answering(protocol, self.at_least, refined=self.unlabelled is not None)
        others = listed_files(self.unlabelled) if self.unlabelled else []
        reading = replace(self.reading([*inputs, *others]), skip_unreadable=True)
        unreadable: list[str] = []
        options = {"top": self.top or _TOP, "sets": self.sets, "at_least": self.at_least, "unlabelled": others}
        results = run.predictions(inputs, protocol, reading, **options, reporter=console.reporter)
        if self.out:
            columns = csv_columns(calibration, sets=self.sets, multilabel=run.model.multilabel)
            self._write(Path(self.out), _recorded(results, unreadable), columns, calibration)
        else:
            # All are made before the first is printed, so that nothing is printed if no file can be read.
            predictions = [*_recorded(results, unreadable)]
            console.show_json([json_entry(each, calibration) for each in predictions])
            lines_of = _line if len(predictions) > _FEW_FILES and self.top is None and not self.sets else _lines
            for line in chain.from_iterable(map(lines_of, predictions)):
                console.results().print(line, flags=False)
        if self.unlabelled:
            console.say_notes("probabilities are not calibrated with --unlabelled")
        if run.model.thresholds is not None:
            levels = sorted({f"{100 * value:.1f} %" for value in run.model.thresholds.sigmoid().tolist()})
            one = f"classes with a probability of at least {levels[0]} are assigned"
            console.say_notes(one if len(levels) == 1 else "each class has its own threshold")
        if run_folder is None:
            folder = Path(self.inputs[0])
            folder = folder if folder.is_dir() else folder.parent
            words = ("--classes", self.classes, "--out", "labels.csv")
            console.next_command("texthead", "label", folder, *words, encoder=self.encoder, text=self.text)
        else:
            console.next_command("texthead", "ui", run_folder)
            sys.stdout.flush()
            console.status("saving the encoder's graph for the next prediction")
            cache_encoder_graph(Path(run_folder), run.model, protocol.sizes.size)
        if unreadable and not self.skip_unreadable:
            files = plural(len(unreadable), "file")
            console.problems().print(f"texthead: {files} cannot be read: {on_one_line(listed(unreadable, 3))}")
            return 1
        return 0

    def _write(
        self,
        path: Path,
        predictions: "Iterator[Prediction]",
        columns: "Sequence[str]",
        calibration: "Calibration | None",
    ) -> None:
        """Write each prediction as it comes, as rows of a CSV file or as a line of JSON; print their number.

        Raises:
            DataError: none of the files can be read, so that there is nothing to write.
        """
        from texthead.files import csv_text
        from texthead.prediction.predictions import csv_rows, json_entry

        def text(prediction: "Prediction") -> str:
            if path.suffix.lower() == ".csv":
                return csv_text(csv_rows(prediction, columns))
            return json.dumps(json_entry(prediction, calibration), ensure_ascii=False) + "\n"

        count = 0
        try:
            with path.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(csv_text([columns]) if path.suffix.lower() == ".csv" else "")
                for each in predictions:
                    file.write(text(each))
                    file.flush()
                    count += 1
        except DataError:
            path.unlink()
            raise
        console.notes().print(f"{self.out}: predictions of {plural(count, 'file')}")


def _recorded(predictions: "Iterable[Prediction]", unreadable: list[str]) -> "Iterator[Prediction]":
    """Yield the predictions, clips in shards under their original names; collect the paths of unreadable files."""
    for prediction in predictions:
        if prediction.error:
            unreadable.append(str(prediction.path))
        yield replace(prediction, path=Path(MediaPath(prediction.path).original))


# Classes printed per file.
_TOP = 5

# More files than this get one line each.
_FEW_FILES = 5


def _line(p: "Prediction") -> list[str]:
    """Return a file, and its two best classes, in one line."""
    if p.error:
        return [f"{on_one_line(p.path)}  not read: {with_flags(p.error)}"]
    shown = p.top[:2] if p.num_labels is None else p.labels or p.top[:1]
    best = ", ".join(f"{100 * v:.1f} % {n}" for n, v in shown)
    return [f"{on_one_line(p.path)}  {f'{p.displayed_answer} (best: {best})' if p.displayed_answer else best}"]


def _lines(p: "Prediction") -> list[str]:
    """Return a file, and a line for each of its best classes."""
    lines = [on_one_line(p.path)]
    for rank, (n, v) in enumerate(p.top):
        named = f"{100 * v:5.1f} %  {n}"
        if p.num_labels is not None:
            lines.append(f"  {'yes' if rank < p.num_labels else 'no '}  {named}")
            continue
        lines.append(
            f"  {named}" if rank or not p.displayed_answer else f"  {p.displayed_answer} (best: {named.lstrip()})"
        )
    if p.set_size is not None:
        lines.append(f"  set: {', '.join(name for name, _ in p.top[: p.set_size])}")
    if p.error:
        lines.append(f"  not read: {with_flags(p.error)}")
    return lines
