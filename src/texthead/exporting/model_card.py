"""The model card of an exported run: what the run itself says, and nothing else."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from texthead.data.protocol import Protocol
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.intervals import wilson_interval
from texthead.exporting.parity import Parity
from texthead.media.fingerprints import fingerprint
from texthead.runs.folder import was_edited
from texthead.runs.metrics import read_records
from texthead.runs.run import Run
from texthead.runs.scores import read_scores

_TEMPLATE = Path(__file__).with_name("model_card.md")


def model_card(
    run: Run, protocol: Protocol, name: str, parity: Parity, *, made: Calibration | None, file: str, int8: str | None
) -> str:
    """Return the card as Markdown with front matter; `made` is what of the run's calibration goes along."""
    runtime = "torch" if file.endswith(".pt2") else "onnxruntime"
    card = ModelCard.from_template(
        ModelCardData(
            library_name="pytorch" if runtime == "torch" else "onnx",
            pipeline_tag="image-classification" if protocol.frames == 1 else "video-classification",
            tags=["texthead"],
        ),
        template_path=str(_TEMPLATE),
        run=run,
        protocol=protocol,
        name=name,
        parity=parity,
        made=made,
        file=file,
        int8=int8,
        runtime=runtime,
        scores=read_scores(run.folder),
        validation=_last_validation(run),
        edited=was_edited(run.classes) if run.classes else False,
        classes=_classes(run),
        packages=", ".join(f"{package} {version(package)}" for package in ("texthead", "torch", "av")),
        weights=fingerprint(run.folder / "model.safetensors"),
        code=_code,
        rate=_rate,
    )
    return f"{card}\n"


def _last_validation(run: Run) -> dict[str, Any] | None:
    """The record of the last validation, if it holds its numbers."""
    found = [record for record in read_records(run.folder) if record.get("kind") == "val"]
    whole = found and all(isinstance(found[-1].get(key), (int, float)) for key in ("epoch", "top1", "count"))
    return found[-1] if whole else None


def _rate(right: int | float, count: int) -> str:
    low, high = wilson_interval(round(right), count)
    return f"{100 * round(right) / count:.1f} % of {count} (95 % interval {low:.1f}-{high:.1f})"


def _classes(run: Run) -> list[tuple[str, Sequence[str]]]:
    """Each label with the exact strings behind its row; none of a row that is learned or drawn."""
    if run.classes and "classes" in run.classes:
        prompts = {entry["label"]: entry["prompt"] for entry in run.classes["classes"]}
    else:
        own = run.head.prompts or [None] * len(run.labels)
        prompts = dict(zip(run.labels, own, strict=True))
    return [(label, [text] if isinstance(text, str) else text or ()) for label, text in prompts.items()]


def _code(text: object) -> str:
    """Text as it is, in a line of Markdown."""
    shown = " ".join(str(text).split())
    if "`" not in shown:
        return f"`{shown}`"
    # Markdown takes one blank away on each side, and reads no backtick of the text as one of the marks.
    marks = "`" * (1 + max(len(run) for run in re.findall("`+", shown)))
    return f"{marks} {shown} {marks}"
