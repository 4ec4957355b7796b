"""The model that a command works with: a run, a run with other classes, or zero-shot."""

import torch

from texthead.commands.console import check_template_fills, notes, say_other_classes, say_prompts
from texthead.commands.options import EncoderOptions, TemplateOptions
from texthead.data.protocol import Protocol
from texthead.encoders.load import load_encoder
from texthead.evaluation.calibration import Calibration
from texthead.models.recognizer import Recognizer
from texthead.prediction.predict import calibration_for, zero_shot
from texthead.runs.run import Run, load_run
from texthead.text.prompts import class_prompts, flat, read_classes

Sentences = list[tuple[str, ...] | None]


def predictor(
    run_folder: str | None, classes: str | None, options: TemplateOptions, source: EncoderOptions, device: torch.device
) -> Run | Recognizer:
    """Return the run with its own or other classes, or a zero-shot model of the classes, on the device."""
    if run_folder is not None:
        run = with_classes(load_run(run_folder), classes, options)
        run.model.to(device)
        return run
    assert classes is not None
    labels, names, sentences = _read_classes(classes, options)
    prompts = class_prompts(options.read_template() or "{}", names, sentences)
    encoder = load_encoder(source.encoder or "mini", text=source.text, prompts=flat(prompts))
    model = zero_shot(encoder, names, labels=labels, prompts=prompts)
    say_prompts(labels, prompts)
    return model.to(device)


def with_classes(run: Run, classes: str | None, options: TemplateOptions) -> Run:
    """Return the run with other classes, after notes on their prompts; the run itself if `classes` is None."""
    if classes is None:
        return run
    labels, names, sentences = _read_classes(classes, options)
    template = options.read_template()
    say_other_classes(run, class_prompts(template or run.recipe.template, names, sentences))
    run = run.with_classes(labels, names=names, template=template, prompts=sentences)
    say_prompts(labels, run.head.prompts or ())
    return run


def _read_classes(classes: str, options: TemplateOptions) -> tuple[list[str], list[str], Sentences]:
    """Return (labels, their names as a text encoder reads them, their sentences where they have them)."""
    given = read_classes(classes)
    check_template_fills(options.template, given)
    labels = list(given)
    if len(labels) == 1:
        notes().print("note: one name alone is always 100 %: give others to compare it with")
    return labels, options.names_for(labels), list(given.values())


def noted_calibration(model: Run | Recognizer, protocol: Protocol) -> Calibration | None:
    """Return what of a run's calibration holds for this protocol, after a note on it."""
    calibration, why = calibration_for(model, protocol)
    if calibration is None:
        return None
    after = f"temperature {calibration.temperature:.3g} (calibration.json, {calibration.items} items)"
    notes().print(f"note: probabilities are after {after}{f'; {why}' if why else ''}")
    return calibration
