"""The model card of a published or exported run, made from the files of the run alone."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from texthead import Calibration, Protocol, Run
from texthead.apps.export.parity import Parity
from texthead.encoders import figures_of
from texthead.errors import printable, without_password
from texthead.media import MediaPath
from texthead.runs import classes_json, read_records, read_scores

_TEMPLATE = Path(__file__).with_name("model_card.md")

# Encoder names that end in a path.
_SOURCE = re.compile(r"((?:hf|text|openclip:local-dir):|(?:openclip|timm):[^/]+/)(.+)")

# Keys of labels, prompts and broader names, which stay: those such as /m/01yrx are no paths.
_NAMES = ("classes", "tree", "template")


def model_card(
    run: Run,
    protocol: Protocol,
    name: str,
    made: Calibration | None,
    *,
    exported: Parity | None = None,
    address: str | None = None,
) -> str:
    """Return the card as Markdown with front matter.

    Args:
        run: the run to describe.
        protocol: its evaluation protocol.
        name: title of the card.
        made: the part of the run's calibration that is published.
        exported: the differences of the exported model from the run.
        address: where the run is published, if it is not exported.
    """
    task = "image-classification" if protocol.frames == 1 else "video-classification"
    counts = run.split.items("train").with_classes(run.labels).counts.values()
    validation = next((each for each in reversed(read_records(run.folder)) if each.get("kind") == "val"), {})
    needed = ("epoch", "mean_ap" if run.model.multilabel else "top1", "count")
    complete = all(isinstance(validation.get(key), (int, float)) for key in needed)
    scores, data = read_scores(run.folder), run.split.data_name
    results, published = None, figures_of(run.spec.source)
    edited = bool(run.classes and run.classes.get("edited"))
    measured = scores is not None and run.classes is not None and not edited  # For the classes of the card.
    if scores and measured:
        metric, value = scores.methods[-1].metric, scores.methods[-1].rate[0]
        kind = "accuracy" if metric == "top-1" else metric
        items = f"{data}, {scores.scored} items"
        results = [EvalResult(task, "other", items, kind, round(value, 2), metric_name=metric)]
    card = ModelCard.from_template(
        ModelCardData(
            library_name="texthead" if address else "onnx",
            pipeline_tag=task,
            tags=["texthead"],
            model_name=name if measured else None,
            eval_results=results,
        ),
        template_path=str(_TEMPLATE),
        run=run,
        protocol=protocol,
        name=name,
        data=data,
        counts=" to ".join(dict.fromkeys(map(str, (min(counts), max(counts))))) if counts else "",
        made=made,
        source=without_folders(made.source) if made else "",
        encoder=without_folders(run.spec.source),
        published=published,
        address=address,
        parity=exported,
        scores=scores,
        validation=validation if complete else None,
        edited=edited,
        classes=classes_of(run)["classes"],
        packages=", ".join(f"{package} {version(package)}" for package in ("texthead", "torch", "av")),
        weights=MediaPath(run.folder / "model.safetensors").fingerprint(),
        code=code,
    )
    return f"{card}\n"


def classes_of(run: Run) -> dict[str, Any]:
    """Return the content of `classes.json`."""
    if run.classes is not None:
        return {key: run.classes[key] for key in ("template", "classes")}
    return classes_json(run.head, None, run.recipe.template)


def code(text: object) -> str:
    """Format text as an inline code span of Markdown."""
    line = " ".join(printable(str(text)).split())
    if "`" not in line:
        return f"`{line}`"
    # The fence must be longer than any run of backticks inside; Markdown strips one space on each side.
    fence = "`" * (1 + max(len(run) for run in re.findall("`+", line)))
    return f"{fence} {line} {fence}"


def without_folders(value: Any) -> Any:
    """Return a JSON value without passwords, and with file names in place of absolute paths."""
    if isinstance(value, dict):
        return {key: each if key in _NAMES else without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    if not isinstance(value, str):
        return value
    source = _SOURCE.fullmatch(value)
    start, path = (source[1], source[2]) if source else ("", value)
    return f"{start}{Path(path).name}" if Path(path).is_absolute() else without_password(value)
