"""Load a run from its folder, or make one of class names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from texthead.data.protocol import Pixels
from texthead.encoders.load import AnyEncoder, EncoderOptions
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError, check_types, line_of, raising
from texthead.evaluation.calibration import Calibration
from texthead.files import MAX_BYTES_OF_LISTS, read_json
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.run import Run
from texthead.recipes import Recipe, check_clip_size
from texthead.runs.folder import CALIBRATION, HERE, RUN_FORMAT, saved_split
from texthead.runs.hub import local_run
from texthead.runs.model import load_model
from texthead.runs.saved import check_run, classes_file, in_file
from texthead.runs.split import RunSplit
from texthead.text.class_names import clean_names
from texthead.text.class_tree import ClassTree
from texthead.text.prompts import class_prompts, flat


def load_run(folder: str | Path, *, allow_download: bool = False) -> Run:
    """Load a run, ready to predict. Needs no text encoder and no pretrained weights.

    Args:
        folder: the run folder, or `hub:ORG/NAME[@REVISION]`, which is downloaded unless it is in the hub's cache.
        allow_download: whether the run's pretrained encoder may be downloaded if new classes or mixed weights need it
            and it is not on this machine.

    Raises:
        RunError: the folder is not a finished run, its files do not fit together, or the hub cannot be read.
        EncoderError: the installed libraries do not know its encoder.
    """
    return run_in(local_run(folder), allow_download=allow_download)


def run_in(folder: Path, model: Recognizer | None = None, *, allow_download: bool = False) -> Run:
    """Return the run in a folder.

    Args:
        model: its model, if it is in memory.
        allow_download: as for `load_run`.

    Raises: as `load_run`.
    """
    check_run(folder)
    about, classes, split = read_json(folder / "recipe.json"), classes_file(folder), saved_split(folder)
    written_as = about.get("format")
    if written_as != RUN_FORMAT:
        raise RunError(
            f"{folder}: format {written_as!r}, this version reads {RUN_FORMAT}: use the version that made it"
        )
    # On damaged values, timm, open_clip and torch raise errors of nearly any type.
    problem, remedy = "recipe.json, classes.json or split.json is damaged", "restore them from a copy"
    with raising(RunError, f"{folder}: {problem}", remedy, Exception):
        with in_file(folder / "recipe.json"):
            spec, recipe = VisualSpec.from_json(about["encoder"]), Recipe.from_json(about["recipe"])
            check_types(Pixels, about["pixels"])
            pixels = Pixels(**about["pixels"])
            check_clip_size(recipe.frames, pixels.size, pixels.resize)
        # Runs can be moved.
        spec = replace(spec, source=spec.source.replace(HERE, str(folder)))
        model = model or load_model(folder, about, classes, spec, pixels)
        ClassTree.from_json(classes.get("tree"))  # Raises an error for a damaged one.
        tuned = (about.get("objective") or {}).get("trains_text") is True
    return Run(
        model.eval(),
        recipe,
        pixels,
        RunSplit(folder, split),
        classes,
        text_tuned=tuned,
        calibration=_saved_calibration(folder),
        allow_download=allow_download,
    )


def _saved_calibration(folder: Path) -> Calibration | None:
    """Read `calibration.json`; None if there is none."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.from_json(read_json(path, most=MAX_BYTES_OF_LISTS))
    except ValueError as error:
        reason = line_of(error).removeprefix(f"{path}: ")
        raise RunError(f"{path}: {reason}; remove it and run `texthead calibrate` again") from None


def zero_shot(
    labels: Sequence[str],
    encoder: AnyEncoder = "mini",
    *,
    names: Sequence[str] | None = None,
    prompts: Sequence[str | Sequence[str] | None] | None = None,
) -> Run:
    """Return a zero-shot run: mean-pooled frame features and a text head. It has no folder.

    The less the text encoder knows the names, the closer are the probabilities.

    Args:
        labels: the classes.
        encoder: an encoder, its name, or options with its template and device.
        names: the name of each class for the text encoder; those that `clean_names` makes of the labels if None.
        prompts: for each class a prompt, several whose rows are averaged, or None for the template.

    Raises:
        DataError: there is no class, or lists differ in length.
        EncoderError: the encoder is unknown, or has no text encoder.
    """
    options = EncoderOptions.from_encoder(encoder)
    names = clean_names(labels) if names is None else names
    filled = class_prompts(options.template or "{}", names, prompts)
    loaded = options.load(filled)
    # Rounded, since text embeddings differ in the last bits with the prompts of their batch.
    lengths = loaded.familiarity_scaled_rows(names, [flat([prompt]) for prompt in filled]).norm(dim=1)
    known = max(round(float(lengths.mean()), 2), 0.01)
    head = text_head(loaded, names, labels=labels, prompts=filled, scale=loaded.scale * known)
    return Run.from_model(Recognizer(loaded.visual, MeanPool(), head.to(loaded.visual.mean.device)))
