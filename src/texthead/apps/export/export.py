"""Export a run as a folder that predicts without texthead.

model.onnx            uint8 clips -> one score per class: crops, normalisation, encoder, temporal module and head
preprocessing.json    frames, views, sizes, normalisation
classes.json          labels, names and exact prompts
thresholds.json       temperature, rejection threshold and prediction sets; for multi-label data, those of classes
predict.py            predicts files with numpy, pillow, av and onnxruntime
README.md             model card
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from texthead import Calibration, Protocol, Reporter, Run
from texthead.apps.export import standalone
from texthead.apps.export.model_card import classes_of, model_card
from texthead.apps.export.parity import Parity, parity
from texthead.apps.export.scorer import Scorer
from texthead.errors import RunError, raising
from texthead.extras import needs
from texthead.features import quiet
from texthead.files import new_folder, write_json

MODEL = "model.onnx"


def export(run: Run, out: str | Path, *, protocol: Protocol | None = None, reporter: Reporter = Reporter()) -> Parity:
    """Write the folder of an exported run atomically, and return how its model differs from the run.

    The model takes any batch size and number of frames; views and sizes are fixed.

    Args:
        protocol: frames, views and sizes; None for the run's own.
        reporter: gets progress.

    Raises:
        RunError: the folder exists, a package is missing, or the model cannot be exported or gives different scores.
    """
    model, protocol, out = run.model, run.protocol_for(protocol), Path(out)
    if not protocol.sizes.antialias:
        raise RunError("predict.py scales with antialiasing alone, and this run without; use `texthead predict`")
    with needs("onnx", "export to ONNX"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    with new_folder(out) as folder:
        scorer = Scorer(model.cpu(), protocol).eval()
        _write_model(folder / MODEL, scorer)
        write_json(folder / "preprocessing.json", preprocessing(scorer))
        write_json(folder / "classes.json", classes_of(run))
        calibration, limits = thresholds(run, protocol)
        write_json(folder / "thresholds.json", limits)
        shutil.copyfile(standalone.__file__, folder / "predict.py")
        measured = parity(folder, scorer, run, reporter)
        card = model_card(run, protocol, out.name, calibration, exported=measured)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return measured


# ---- content of the folder


def _write_model(file: Path, scorer: Scorer) -> None:
    """Write the model as an ONNX graph for any batch size, number of frames and frame size.

    If the encoder sees several frames at once, the number of frames is that of the protocol.

    Raises:
        RunError: the model has control flow that depends on values of its input.
    """
    size, most = scorer.protocol.sizes.size, _most_frames(scorer)
    frames = scorer.protocol.frames if scorer.model.takes_clips else min(3, most or 3)
    # No size is a multiple of another, so that torch.export does not treat them as equal.
    shape = (2, scorer.protocol.views.clips, frames, size + 9, size + 27, 3)
    free: dict[int, Any] = {0: Dim("batch"), 3: Dim("height", min=size), 4: Dim("width", min=size)}
    if not scorer.model.takes_clips:
        free[2] = Dim("frames", max=most)
    problem = f"{scorer.model.spec.source}: cannot be exported"
    # torch.export raises many types.
    with raising(RunError, problem, "train with another encoder or head", Exception), torch.no_grad(), quiet():
        program = torch.export.export(scorer, (torch.zeros(shape, dtype=torch.uint8),), dynamic_shapes={"clips": free})
    with quiet():
        written = torch.onnx.export(program, (), input_names=["clips"], output_names=["scores"], verbose=False)
    assert written is not None
    written.save(file)


def _most_frames(scorer: Scorer) -> int | None:
    """Return the maximum number of frames in a clip; None if there is none, or an encoder of clips fixes it."""
    options = {} if scorer.model.takes_clips else getattr(scorer.model.temporal, "options", {})
    return options.get("max_frames")


def preprocessing(scorer: Scorer) -> dict[str, Any]:
    """Return the content of `preprocessing.json`: the steps of `predict.py` and those inside the model."""
    spec, protocol = scorer.model.spec, scorer.protocol
    pixels, views = protocol.sizes, protocol.views
    frames = protocol.frames if scorer.model.takes_clips else "any"
    return {
        "format": 1,
        "model": MODEL,
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
        "enough": pixels.min_short_side,
        "in_the_model": {
            "size": pixels.size,
            "mean": spec.mean,
            "std": spec.std,
            "views_averaged": protocol.pooling,
        },
    }


def thresholds(run: Run, protocol: Protocol) -> tuple[Calibration | None, dict[str, object]]:
    """Return (the calibration to export, the content of `thresholds.json`).

    That is the temperature, and threshold and prediction sets if they are valid; for multi-label data, the threshold of
    each class.
    """
    calibration, reason = run.calibration_for(protocol)
    values = {} if calibration is None else calibration.to_json()
    limits = {"temperature": 1.0, "threshold": None, "coverage": None}
    limits |= {key: values[key] for key in limits if key in values}
    if calibration is None:
        reason = "the run is not calibrated"
    elif calibration.level is not None:
        calibration = replace(calibration, level=None)
        reason = "broader names are not exported: the folder answers with classes alone"
    if run.model.thresholds is not None:
        reason = "each class has its own threshold"
        limits["several"] = dict(zip(run.model.names, run.model.thresholds.tolist(), strict=True))
    return calibration, limits if reason is None else {**limits, "why": reason}
