"""A run as a folder that predicts without texthead.

model.onnx or model.pt2    uint8 clips -> one score a class: crops, normalisation, encoder, temporal module and head
preprocessing.json         frames, views, sizes, normalisation
classes.json               labels, names and the exact prompts
thresholds.json            temperature, threshold and sets of a calibrated run
predict.py                 file -> names with numpy, av and onnxruntime (or torch)
README.md                  the model card
"""

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import Dim

from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.encoders.encoder import as_visual
from texthead.errors import RunError
from texthead.evaluation.calibration import Calibration
from texthead.exporting import standalone
from texthead.exporting.card import parity_section, use_section
from texthead.exporting.int8 import FRAMES, quantise, way_for
from texthead.exporting.parity import Parity, check_parity, parity
from texthead.exporting.scorer import Scorer
from texthead.extras import needs
from texthead.features.engine import quiet
from texthead.files import new_folder, scratch_folder, write_json
from texthead.media.paths import file_of
from texthead.media.shard import is_member
from texthead.models.temporal import AttentivePool, TemporalTransformer
from texthead.parallel.progress import Progress
from texthead.prediction.predict import calibration_for, protocol_of
from texthead.runs.folder import classes_json
from texthead.runs.model_card import model_card
from texthead.runs.run import Run

To = Literal["onnx", "torch"]

MODELS: dict[To, str] = {"onnx": "model.onnx", "torch": "model.pt2"}


def export(
    run: Run,
    out: str | Path,
    *,
    to: To = "onnx",
    int8: bool = False,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> Parity:
    """Write the folder of an exported run, whole or not at all, and return how far its model is from the run.

    The model scores any number of items, of any number of frames, at once; views and sizes are fixed.

    Args:
        to: an ONNX model for onnxruntime, or a torch.export program for torch alone.
        int8: weights of eight bits; what that costs is in the model card. Threshold and sets of a calibrated run are
            left out then, since they hold for the run's own scores.
        protocol: how files are read; the run's own if None.

    Raises:
        RunError: a folder that is there, a package that is missing, a model that cannot be exported, or whose scores
            differ.
    """
    out = Path(out)
    check_export(out, to, int8=int8)
    model, protocol = protocol_of(run, protocol)
    scorer = Scorer(model.cpu(), protocol).eval()
    with new_folder(out) as folder:
        settings = preprocessing(scorer, to)
        way = _write_model(folder, scorer, run, settings, to, int8)
        write_json(folder / "preprocessing.json", settings)
        write_json(folder / "classes.json", _classes(run))
        made, why = kept_calibration(run, protocol, promises=not int8)
        write_json(folder / "thresholds.json", thresholds(made, why))
        shutil.copyfile(standalone.__file__, folder / "predict.py")
        found = parity(folder, scorer, run, progress)
        if not int8:
            check_parity(found)
        card = model_card(
            run,
            protocol,
            out.name,
            made=made,
            library="pytorch" if to == "torch" else "onnx",
            use=use_section(MODELS[to], protocol),
            measured=parity_section(found, way),
            maker="texthead export",
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return found


def check_export(out: Path, to: str, *, int8: bool) -> To:
    """Return the target; raise RunError if the export cannot be made there."""
    if to not in MODELS:
        raise RunError(f"to must be {', '.join(MODELS)} or hub:ORG/NAME, got {to!r}")
    if out.exists():
        raise RunError(f"{out}: is there already; choose another folder, or remove it")
    if int8 and to == "torch":
        raise RunError("int8 is made by onnxruntime: take to=onnx, or leave out int8")
    if to == "onnx":
        with needs("onnx", "export to ONNX"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    return to


# ---- what is in the folder


def _write_model(folder: Path, scorer: Scorer, run: Run, settings: dict, to: To, int8: bool) -> str | None:
    """Write the model and return how it was quantised, if it was."""
    program = traced(scorer)
    file = folder / MODELS[to]
    if to == "torch":
        torch.export.save(program, file)
        return None
    with quiet():
        written = torch.onnx.export(program, (), input_names=["clips"], output_names=["scores"], verbose=False)
    assert written is not None
    if not int8:
        written.save(file)
        return None
    with scratch_folder(folder) as scratch, quiet():
        full = scratch / "full.onnx"
        written.save(full)
        way = way_for(full)
        quantise(full, file, way, _training_clips(run, settings) if way == "static" else [])
    return way


def _training_clips(run: Run, settings: dict) -> list[np.ndarray]:
    """Read clips of some training files that still exist, evenly placed."""
    files = sorted({str(file_of(path)) for path in run.trained_on})
    there = [path for path in map(Path, files) if path.is_file() and not is_member(path)]
    most = max(4, FRAMES // (settings["frames"] * settings["views"]["clips"] * settings["views"]["crops"]))
    clips = []
    for place in evenly(len(there), most):
        with suppress(standalone.Refused, OSError):
            clips.append(standalone.read_clips(there[place], settings)[None])
    return clips


def traced(scorer: Scorer) -> torch.export.ExportedProgram:
    """Return the model as a program of plain operations, for any number of items and frames and any shape of frame.

    An encoder that sees several frames at once takes as many as the protocol has.

    Raises:
        RunError: a model with steps that depend on its input's values.
    """
    size, most = scorer.protocol.sizes.size, _most_frames(scorer)
    frames = scorer.protocol.frames if scorer.model.sees_clips else min(3, most or 3)
    # No side is a multiple of another, so that nothing is taken for the same number.
    shape = (2, scorer.protocol.views.clips, frames, size + 9, size + 27, 3)
    free: dict[int, Any] = {0: Dim("batch"), 3: Dim("height", min=size), 4: Dim("width", min=size)}
    if not scorer.model.sees_clips:
        free[2] = Dim("frames", max=most)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(scorer, (torch.zeros(shape, dtype=torch.uint8),), dynamic_shapes={"clips": free})
    except Exception as error:  # torch.export raises nearly every kind.
        message = " ".join(str(error).split())[:200]
        raise RunError(f"{as_visual(scorer.model.visual).spec.source}: cannot be exported ({message})") from error


def _most_frames(scorer: Scorer) -> int | None:
    """Return the most frames that a clip may have, if there is a limit."""
    temporal = scorer.model.temporal
    return temporal.options["max_frames"] if isinstance(temporal, TemporalTransformer | AttentivePool) else None


def preprocessing(scorer: Scorer, to: To) -> dict[str, Any]:
    """Return what `preprocessing.json` holds: what `predict.py` does to a file, and what the model does itself."""
    spec, protocol = as_visual(scorer.model.visual).spec, scorer.protocol
    pixels, views = protocol.sizes, protocol.views
    frames = protocol.frames if scorer.model.sees_clips else "any"
    return {
        "format": 2,
        "model": MODELS[to],
        "input": {
            "name": "clips",
            "type": "uint8, RGB, 0-255",
            "axes": ["batch", "clips", "frames", "height", "width", "channels"],
            "shape": ["any", views.clips, frames, f"{pixels.size} or more", f"{pixels.size} or more", 3],
            "most_frames": _most_frames(scorer),
        },
        "output": {"name": "scores", "axes": ["batch", "classes"]},
        "frames": protocol.frames,
        "views": asdict(views),
        "resize": pixels.size if views.crops == 3 and views.along == "long-side" else pixels.resize,
        "squash": pixels.squash,
        "interpolation": pixels.interpolation,
        "antialias": pixels.antialias,
        "in_the_model": {
            "size": pixels.size,
            "mean": spec.mean,
            "std": spec.std,
            "views_averaged": protocol.pooling,
        },
    }


def _classes(run: Run) -> dict[str, object]:
    """Return what `classes.json` holds."""
    if run.classes is not None:
        return {key: run.classes[key] for key in ("template", "classes")}
    return classes_json(run.head, None, run.recipe.template)


def kept_calibration(run: Run, protocol: Protocol, *, promises: bool) -> tuple[Calibration | None, str | None]:
    """Return what of the run's calibration is exported, and why not all; without `promises` the temperature alone."""
    found, why = calibration_for(run, protocol)
    if found is not None and why is None and not promises:
        return found.without_promises(), "threshold and sets hold for scores without int8"
    return found, why


def thresholds(found: Calibration | None, why: str | None) -> dict[str, object]:
    """Return what `thresholds.json` holds: the temperature, and, if they hold here, threshold and prediction sets."""
    if found is None:
        return {"temperature": 1.0, "threshold": None, "coverage": None, "why": "the run is not calibrated"}
    written = found.to_json()
    kept: dict[str, object] = {key: written[key] for key in ("temperature", "threshold", "coverage")}
    return kept if why is None else {**kept, "why": why}
