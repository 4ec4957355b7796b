"""A run as a folder that predicts without texthead.

model.onnx or model.pt2    uint8 clips -> one score a class: encoder, temporal module, views and head in one
preprocessing.json         frames, views, sizes, normalisation
classes.json               labels, names and the exact prompts
thresholds.json            temperature, threshold and sets of a calibrated run
predict.py                 file -> names with numpy, av and onnxruntime (or torch)
README.md                  the model card
"""

import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.encoders.encoder import as_visual
from texthead.errors import MediaError, RunError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import average_views
from texthead.exporting import standalone
from texthead.exporting.int8 import FRAMES, quantise, way_for
from texthead.exporting.model_card import model_card
from texthead.exporting.parity import Parity, check_parity, item_clips, parity
from texthead.files import new_folder, write_json
from texthead.media.shard import is_member
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import TemporalTransformer
from texthead.parallel.progress import Progress
from texthead.prediction.predict import calibration_for, protocol_of
from texthead.runs.folder import classes_json
from texthead.runs.run import Run

To = Literal["onnx", "torch"]

MODELS: dict[To, str] = {"onnx": "model.onnx", "torch": "model.pt2"}


class Scorer(nn.Module):
    """uint8 clips -> one score a class, as `texthead predict` has it: the views of an item are averaged inside."""

    def __init__(self, model: Recognizer, pooling: str):
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, clips: UInt8[Tensor, "batch views frames 3 size size"]) -> Float[Tensor, "batch classes"]:
        """Scores of each item."""
        features = self.model.features(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return average_views(features, self.model.head, pooling=self.pooling)  # pyright: ignore[reportArgumentType]


def export(
    run: Run,
    out: str | Path,
    *,
    to: To = "onnx",
    int8: bool = False,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> Parity:
    """How far the exported model is from the run, after writing its folder; the folder is there whole or not at all.

    Any number of clips of any number of frames can be scored at once; views and sizes are fixed.

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
    scorer = Scorer(model.cpu().eval(), protocol.pooling).eval()
    with new_folder(out) as folder:
        way = _write_model(folder, scorer, run, protocol, to, int8)
        write_json(folder / "preprocessing.json", preprocessing(scorer, protocol, to))
        write_json(folder / "classes.json", _classes(run))
        made, why = kept_calibration(run, protocol, promises=not int8)
        write_json(folder / "thresholds.json", thresholds(made, why))
        shutil.copyfile(standalone.__file__, folder / "predict.py")
        found = parity(folder, scorer, run, protocol, progress)
        if not int8:
            check_parity(found)
        card = model_card(run, protocol, out.name, found, made=made, file=MODELS[to], int8=way)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return found


def check_export(out: Path, to: str, *, int8: bool) -> None:
    """Nothing, if what is asked for can be made there.

    Raises:
        RunError: it cannot.
    """
    if to not in get_args(To):
        raise RunError(f"--to must be onnx or torch, got {to!r}")
    if out.exists():
        raise RunError(f"{out}: is there already; choose another --out, or remove it")
    if int8 and to == "torch":
        raise RunError("--int8 is made by onnxruntime: leave out --to torch, or leave out --int8")
    if to == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise RunError(f"export to ONNX needs {error.name}: pip install 'texthead[onnx]'") from None


# ---- what is in the folder


def _write_model(folder: Path, scorer: Scorer, run: Run, protocol: Protocol, to: To, int8: bool) -> str | None:
    """How it was quantised, if it was; the model is written."""
    program = traced(scorer, protocol)
    file = folder / MODELS[to]
    if to == "torch":
        torch.export.save(program, file)
        return None
    with _quiet():
        written = torch.onnx.export(program, (), input_names=["clips"], output_names=["scores"], verbose=False)
    assert written is not None
    if not int8:
        written.save(file)
        return None
    with tempfile.TemporaryDirectory(dir=folder) as scratch, _quiet():
        full = Path(scratch) / "full.onnx"
        written.save(full)
        way = way_for(full)
        quantise(full, file, way, _training_clips(run, protocol) if way == "static" else [])
    return way


def _training_clips(run: Run, protocol: Protocol) -> list[np.ndarray]:
    """Clips of training files that are still there, evenly placed."""
    there = [path for path in map(Path, sorted(run.trained_on)) if path.is_file() and not is_member(path)]
    most = max(4, FRAMES // (protocol.frames * protocol.views.count))
    found = item_clips([there[place] for place in evenly(len(there), most)], protocol)
    return [clips for clips in found if not isinstance(clips, MediaError)]


def traced(scorer: Scorer, protocol: Protocol) -> torch.export.ExportedProgram:
    """The model as a program of plain operations, for any number of items and of frames.

    Raises:
        RunError: a model with steps that depend on its input's values.
    """
    temporal, size = scorer.model.temporal, protocol.sizes.size
    most = temporal.options["max_frames"] if isinstance(temporal, TemporalTransformer) else None
    example = torch.zeros(2, protocol.views.count, min(3, most or 3), 3, size, size, dtype=torch.uint8)
    frames = torch.export.Dim("frames", max=most)  # pyright: ignore[reportArgumentType]
    free = {0: torch.export.Dim("batch"), 2: frames}
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(scorer, (example,), dynamic_shapes={"clips": free})
    except Exception as error:  # torch.export makes nearly every kind.
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{as_visual(scorer.model.visual).spec.source}: cannot be exported ({told})") from error


def preprocessing(scorer: Scorer, protocol: Protocol, to: To) -> dict[str, object]:
    """What `preprocessing.json` holds: all that `predict.py` does to a file, and what the model does itself."""
    spec, temporal = as_visual(scorer.model.visual).spec, scorer.model.temporal
    return {
        "format": 1,
        "model": MODELS[to],
        "input": {
            "name": "clips",
            "type": "uint8, RGB, 0-255",
            "axes": ["batch", "views", "frames", "channels", "height", "width"],
            "shape": ["any", protocol.views.count, "any", 3, protocol.sizes.size, protocol.sizes.size],
            "most_frames": temporal.options["max_frames"] if isinstance(temporal, TemporalTransformer) else None,
        },
        "output": {"name": "scores", "axes": ["batch", "classes"]},
        "frames": protocol.frames,
        "views": asdict(protocol.views),
        **asdict(protocol.sizes),
        "antialias": True,
        "in_the_model": {"mean": spec.mean, "std": spec.std, "views_averaged": protocol.pooling},
    }


def _classes(run: Run) -> dict[str, object]:
    """What `classes.json` holds."""
    if run.classes is not None:
        return {key: run.classes[key] for key in ("template", "classes")}
    return classes_json(run.head, None, run.recipe.template)


def kept_calibration(run: Run, protocol: Protocol, *, promises: bool) -> tuple[Calibration | None, str | None]:
    """(what of the run's calibration goes along, why not all of it); of int8, without `promises`, the temperature."""
    found, why = calibration_for(run, protocol)
    if found is not None and why is None and not promises:
        return found.without_promises(), "threshold and sets hold for scores without int8"
    return found, why


def thresholds(found: Calibration | None, why: str | None) -> dict[str, object]:
    """What `thresholds.json` holds: the temperature, and where they hold here the threshold and label sets."""
    if found is None:
        return {"temperature": 1.0, "threshold": None, "coverage": None, "why": "the run is not calibrated"}
    written = found.to_json()
    kept: dict[str, object] = {key: written[key] for key in ("temperature", "threshold", "coverage")}
    return kept if why is None else {**kept, "why": why}


@contextmanager
def _quiet() -> Iterator[None]:
    """What exporters say on the way is for those who write them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
