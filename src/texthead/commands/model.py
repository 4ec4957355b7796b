"""The model that a command works with: a run, a run with other classes, or zero-shot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from texthead.commands.options import DownloadOptions, EncoderOptions, TemplateOptions
from texthead.errors import DataError
from texthead.text.prompts import check_template_fills, class_prompts, flat, read_classes

if TYPE_CHECKING:
    import torch

    from texthead.data.protocol import Protocol
    from texthead.evaluation.calibration import Calibration
    from texthead.models.recognizer import Recognizer
    from texthead.runs.run import Run

ClassSentences = list[tuple[str, ...] | None]


@dataclass(frozen=True)
class ModelOptions:
    """The model that predicts: a run, a run with other classes, or without a run classes by text.

    Args:
        classes: names.txt, classes.json or 'a helicopter, a bird'
    """

    classes: str | None = None
    source: EncoderOptions = EncoderOptions()
    downloads: DownloadOptions = DownloadOptions()
    prompts: TemplateOptions = TemplateOptions()

    def split(self, inputs: Sequence[str], what: str) -> tuple[str | None, list[str]]:
        """Return (the run, if the first input is one, the other inputs, which are files).

        Args:
            inputs: what was named, in order.
            what: what a run must come before, for the message.

        Raises:
            DataError: a run in another place, an encoder beside a run, or neither a run nor classes.
            RunError: no classes, and the first input does not exist.
        """
        from texthead.runs.saved import check_run_exists, is_run

        run, rest = (inputs[0], inputs[1:]) if inputs and is_run(inputs[0]) else (None, inputs)
        for path in rest:
            if is_run(path):
                raise DataError(f"{path} is a run: name one run, before {what}")
        self.prompts.check_used(self.classes is not None, "--classes")
        if run is not None:
            self.source.check_no_run(run)
        elif self.classes is None:
            if rest and rest[0] != "-":
                check_run_exists(rest[0])
            named = f"{rest[0]} is no run (no recipe.json in it)" if rest else "no run is named"
            raise DataError(f"{named}, so --classes is required: name a run first, or the classes")
        return run, list(rest)

    def load(self, run_folder: str | None, device: "torch.device") -> "Run | Recognizer":
        """Return the run with its own or other classes, or a zero-shot model of the classes, on the device."""
        from texthead.commands.console import say_prompts
        from texthead.encoders.load import load_encoder
        from texthead.prediction.predict import zero_shot
        from texthead.runs.run import load_run

        if run_folder is not None:
            run = load_run(run_folder, allow_download=self.downloads.allow_download)
            run = with_classes(run, self.classes, self.prompts)
            run.model.to(device)
            return run
        assert self.classes is not None
        labels, names, sentences = _read_classes(self.classes, self.prompts)
        prompts = class_prompts(self.prompts.read_template() or "{}", names, sentences)
        encoder = load_encoder(self.source.encoder or "mini", text=self.source.text, prompts=flat(prompts))
        model = zero_shot(encoder, names, labels=labels, prompts=prompts)
        say_prompts(labels, prompts)
        return model.to(device)


def with_classes(run: "Run", classes: str | None, options: TemplateOptions) -> "Run":
    """Return the run with other classes, after notes on their prompts; the run itself if `classes` is None."""
    from texthead.commands.console import say_other_classes, say_prompts

    if classes is None:
        return run
    labels, names, sentences = _read_classes(classes, options)
    template = options.read_template()
    say_other_classes(run, class_prompts(template or run.recipe.template, names, sentences))
    run = run.with_classes(labels, names=names, template=template, prompts=sentences)
    say_prompts(labels, run.head.prompts or ())
    return run


def _read_classes(classes: str, options: TemplateOptions) -> tuple[list[str], list[str], ClassSentences]:
    """Return (labels, their names as a text encoder reads them, their sentences where they have them)."""
    from texthead.commands.console import notes

    given = read_classes(classes)
    check_template_fills(options.template, given)
    labels = list(given)
    if len(labels) == 1:
        notes().print("note: one name alone is always 100 %: give others to compare it with")
    return labels, options.names_for(labels), list(given.values())


def noted_calibration(model: "Run | Recognizer", protocol: "Protocol") -> "Calibration | None":
    """Return what of a run's calibration holds for this protocol, after a note on it, or on a run that has none."""
    from texthead.commands.console import notes
    from texthead.prediction.predict import calibration_for
    from texthead.runs.hub import shown
    from texthead.runs.run import Run

    calibration, why = calibration_for(model, protocol)
    if calibration is None:
        if isinstance(model, Run) and model.classes is not None:
            name = shown(model.folder)
            notes().print(f"note: probabilities of {name} are not calibrated: texthead calibrate {name} DATA")
        return None
    after = f"temperature {calibration.temperature:.3g} (calibration.json, {calibration.items} items)"
    notes().print(f"note: probabilities are after {after}{f'; {why}' if why else ''}")
    return calibration
