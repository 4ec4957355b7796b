"""The model of a command: a run, a run with other classes, or zero-shot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from texthead.cli.console import console
from texthead.cli.options import check_no_encoder, common
from texthead.cli.parser import name_of
from texthead.errors import DataError, listed
from texthead.media.paths import MediaPath
from texthead.platform import quoted
from texthead.text.prompts import class_prompts, flat, labelled_classes

if TYPE_CHECKING:
    import torch

    from texthead.data.protocol import Protocol
    from texthead.evaluation.calibration import Calibration
    from texthead.prediction.run import Run


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model that predicts: a run, a run with other classes, or zero-shot.

    A command with the option `encoder` or `text` also names the encoder for zero-shot.
    """

    inputs: list[str] = common("inputs", metavar="RUN_OR_FILE")
    classes: str | None = common("classes")

    def run_and_files(self, what: str, *, one: bool = False) -> tuple[str | None, list[str]]:
        """Return (the run if the first input is one, the files).

        Args:
            what: name of a file, for messages.
            one: whether there must be one file.

        Raises:
            DataError: a run after the files, an encoder with a run, neither a run nor classes, or no file, several
                instead of one, or one that does not exist.
            RunError: no classes, and the first input does not exist.
        """
        from texthead.runs.saved import check_run_exists, is_run

        first, *others = self.inputs
        run, files = (first, others) if is_run(first) else (None, self.inputs)
        for path in files:
            if is_run(path):
                raise DataError(f"{path} is a run: name one run, before all files")
        if run is not None:
            check_no_encoder(self, run)
        elif self.classes is None:
            check_run_exists(first)
            problem = f"{first} is not a run (no recipe.json in it), so --classes is required"
            raise DataError(f"{problem}; name a run first, or pass --classes")
        if not files:
            raise DataError(f"{run} is a run: name the {what} after it")
        for path in files:
            MediaPath(path).check()
        if one and len(files) > 1:
            problem = f"{name_of(type(self))} takes one {what}, got {len(files)}, and {files[0]} is not a run"
            raise DataError(f"{problem} (no recipe.json in it): name one {what}")
        return run, files

    def load(self, run_folder: str | None, device: "torch.device") -> "Run":
        """Return the run with its own or other classes, or a zero-shot run, on the device."""
        source, text = getattr(self, "encoder", None) or "mini", getattr(self, "text", None)
        console.status(f"loading {run_folder or source}")
        from texthead.encoders.load import load_encoder
        from texthead.prediction.load import load_run, zero_shot
        from texthead.transfer.methods import names_line

        if run_folder is not None:
            return with_classes(load_run(run_folder, allow_download=False), self.classes).to(device)
        assert self.classes is not None
        labels, names, sentences = labelled_classes([], "", self.classes)
        prompts = class_prompts("{}", names, sentences)
        encoder = load_encoder(source, text=text, prompts=flat(prompts), lazy=True)
        run = zero_shot(labels, encoder, names=names, prompts=sentences)
        console.say_prompts(labels, prompts)
        console.say_notes(names_line(encoder, names, prompts), *notes_on_names(run))
        return run.to(device)

    @staticmethod
    def noted_calibration(run: "Run", protocol: "Protocol") -> "Calibration | None":
        """Return the part of a run's calibration that holds for this protocol, or None, with a note on it."""
        calibration, why = run.calibration_for(protocol)
        if calibration is None:
            console.say_notes(why)
            return None
        how = "not rescaled:" if calibration.temperature == 1 else "calibrated:"
        source = f"temperature {calibration.temperature:.3g} (calibration.json, {calibration.items} items)"
        console.say_notes(f"probabilities are {how} {source}{f'; {why}' if why else ''}")
        return calibration


def with_classes(run: "Run", classes: str | None, labels: Sequence[str] = (), source: str = "") -> "Run":
    """Return the run with other classes, with notes on what is lost; the run itself if `classes` is None.

    Args:
        labels: labels of items that the classes must name, which are in `source`.
    """
    from texthead.transfer.methods import names_line

    if classes is None:
        return run
    made, encoder = labelled_classes(labels, source, classes), run.encoder()
    if labels:
        console.say_names(made.labels, made.names)
    console.say_notes(*notes_on_other_classes(run, made.labels))
    other = run.with_classes(made.labels, names=made.names, prompts=made.sentences, encoder=encoder)
    console.say_prompts(made.labels, other.head.prompts or (), run)
    if not labels:
        console.say_notes(names_line(encoder, made.names, other.head.prompts or ()), *notes_on_names(other))
    return other


def notes_on_names(run: "Run", trained: "Run | None" = None) -> list[str]:
    """Return caveats for answers with classes that a person typed.

    Args:
        trained: the run whose classes these replace, to say what they lose.
    """
    from texthead.encoders.load import zero_shot_note

    notes = ["zero-shot probabilities are not calibrated: a wrong class may get a high one"]
    if len(run.labels) == 1 and not run.model.multilabel:
        notes = ["a single class always gets 100 %: name others to compare it with"]
    note = zero_shot_note(run.spec.source, run.labels)
    lost = notes_on_other_classes(trained, run.labels) if trained else []
    return [*lost, *notes, *([note] if note else [])]


def notes_on_other_classes(run: "Run", labels: Sequence[str]) -> list[str]:
    """Return messages on what is lost if text rows of other classes replace the run's rows."""
    if run.head.takes_text:
        entries = run.classes["classes"] if run.classes else []
        fitted = [each["label"] for each in entries if each["prompt"] is None and each["label"] in labels]
        lost = f"`classes` makes all rows from text, also those of {listed(fitted)}, which {run.name} has learned"
        new = next((each for each in labels if each not in fitted), "NAME")
        add = f"texthead classes {quoted(str(run.name))} add {quoted(new)} --out RUN2"
        return [f"{lost}; `{add}` keeps them"] if fitted else []
    trained = f"{run.folder} was trained with head {run.head.kind}, whose rows are not text"
    remedy = "predict without the run for zero-shot, or retrain with `head=text`"
    return [f"{trained}, so new class names may not work with it: {remedy}"]
