"""`texthead predict`: predict the classes of files, with a run or zero-shot."""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TextIO

from texthead.cli import console
from texthead.cli.flag_names import with_flags
from texthead.cli.model import ModelOptions
from texthead.cli.options import ReadingOptions, common
from texthead.cli.parser import option
from texthead.errors import DataError, PositiveInt, listed, on_one_line, plural
from texthead.media.paths import MediaPath

if TYPE_CHECKING:
    from texthead.commands.prediction_file import PredictionFile
    from texthead.data.protocol import Protocol
    from texthead.evaluation.calibration import Calibration
    from texthead.models.recognizer import Recognizer
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
        sets: also print sets that hold the right class as often as calibrated
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
            raise DataError("--json and --out exclude each other: give one")
        if self.out and self.unlabelled and Path(self.out).exists():
            raise DataError(f"--out {self.out} exists, and --unlabelled scores all files at once: name another file")
        for path in self.run_and_files("file or folder")[1]:
            if Path(path).suffix.lower() == ".txt" and Path(path).is_file():
                raise DataError(
                    f"{path} is a list, not a video or image: write it as a CSV with a column 'path', or use "
                    "`texthead bulk`, which takes a .txt with one path per line"
                )

    def __call__(self) -> int:
        """Return the exit code."""
        from texthead.data.reading import listed_files
        from texthead.media.find import find_names
        from texthead.prediction.load import cache_encoder_graph

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
        file = self._open(run.model, protocol, calibration, inputs) if self.out else None
        begun = file is not None and bool(file.done)
        if file and begun:  # As a `Path`, since names in shards have slashes on Windows too.
            inputs = [name for name in find_names(inputs) if str(Path(MediaPath(name).original)) not in file.done]
        if inputs:
            results = run.predictions(inputs, protocol, reading, **options, reporter=console.reporter)
            results = _recorded(results, unreadable)
            try:
                self._write_to(file, results) if file else self._print(results, calibration)
            except DataError:  # None of the rest can be read, but some of all files could.
                if not (begun and unreadable):
                    raise
        elif file:
            file.close()
        if self.unlabelled:
            console.say_notes("probabilities are not calibrated with --unlabelled")
        if run.model.thresholds is not None:
            levels = sorted({f"{100 * value:.1f} %" for value in run.model.thresholds.sigmoid().tolist()})
            one = f"a class is assigned from a probability of {levels[0]}"
            console.say_notes(one if len(levels) == 1 else "each class has a threshold of its own")
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

    def _open(
        self,
        model: "Recognizer",
        protocol: "Protocol",
        calibration: "Calibration | None",
        inputs: "Sequence[str | Path]",
    ) -> "PredictionFile":
        """Return the file to write predictions to; print how many it has.

        Raises:
            DataError: clips come from several folders of shards, whose names may be the same.
        """
        from texthead.commands.prediction_file import PredictionFile
        from texthead.encoders.lazy import weights_key
        from texthead.prediction.predictions import csv_columns

        columns = csv_columns(calibration, sets=self.sets, multilabel=model.multilabel)
        digest = weights_key(model.head, f"{model.head} {model.features_digest()}")
        shards = [str(Path(path).resolve()) for path in inputs if MediaPath(path).has_shards()]
        if shards[1:]:
            raise DataError(
                f"--out {self.out}: {shards[0]} and {shards[1]} may have clips of the same name: predict one alone"
            )
        about = {"labels": model.names, "model": digest, "top": self.top or _TOP, "unlabelled": self.unlabelled}
        relative = any(not Path(path).is_absolute() for path in inputs)
        about |= {"sets": self.sets, "shards": shards, "working directory": str(Path.cwd()) if relative else None}
        about |= {"calibration": calibration and calibration.to_json(with_items=False), **protocol.to_json()}
        file = PredictionFile(Path(self.out or ""), columns, about, calibration)
        if file.done:
            console.notes().print(f"{self.out}: already has the predictions of {len(file.done)} files")
        return file

    def _write_to(self, file: "PredictionFile", predictions: "Iterator[Prediction]") -> None:
        """Write each prediction as it comes."""
        before = len(file.done)
        with closing(file):
            for prediction in predictions:
                file.write(prediction)
        console.notes().print(f"{self.out}: predictions of {len(file.done) - before} files")

    def _print(self, predictions: "Iterator[Prediction]", calibration: "Calibration | None") -> None:
        """Print the predictions once all are made, so that nothing is printed if no file can be read.

        They are held in a file, not in memory.
        """
        show = console.write if console.prints_json() else partial(console.results().print, flags=False)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            self._write(predictions, file, calibration)
            file.seek(0)
            for line in file:
                show(line.removesuffix("\n"))

    def _write(self, predictions: "Iterator[Prediction]", file: TextIO, calibration: "Calibration | None") -> None:
        """Write each prediction as it comes: as JSON or text; many files as one line each."""
        from texthead.prediction.predictions import json_entry

        if console.prints_json():
            entries = (
                json.dumps([json_entry(each, calibration)], indent=1, ensure_ascii=False) for each in predictions
            )
            # Without the brackets of its own list.
            file.writelines(f"{',' if number else '['}{entry[1:-2]}" for number, entry in enumerate(entries))
            file.write("\n]\n")
        else:
            first = list(islice(predictions, _FEW_FILES + 1))
            short = len(first) > _FEW_FILES and self.top is None and not self.sets
            file.writelines(map(_line if short else _lines, chain(first, predictions)))


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


def _line(p: "Prediction") -> str:
    """Return a file, and its two best classes, as one line."""
    if p.error:
        return f"{on_one_line(p.path)}  not read: {with_flags(p.error)}\n"
    shown = p.top[:2] if p.chosen is None else p.labels or p.top[:1]
    best = ", ".join(f"{100 * v:.1f} % {n}" for n, v in shown)
    return f"{on_one_line(p.path)}  {f'{p.displayed_answer} (best: {best})' if p.displayed_answer else best}\n"


def _lines(p: "Prediction") -> str:
    """Return a file, and a line for each of its best classes."""
    lines = [on_one_line(p.path)]
    for rank, (n, v) in enumerate(p.top):
        named = f"{100 * v:5.1f} %  {n}"
        if p.chosen is not None:
            lines.append(f"  {'yes' if rank < p.chosen else 'no '}  {named}")
            continue
        lines.append(
            f"  {named}" if rank or not p.displayed_answer else f"  {p.displayed_answer} (best: {named.lstrip()})"
        )
    if p.set_size is not None:
        lines.append(f"  set: {', '.join(name for name, _ in p.top[: p.set_size])}")
    if p.error:
        lines.append(f"  not read: {with_flags(p.error)}")
    return "".join(f"{line}\n" for line in lines)
