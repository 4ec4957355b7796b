"""The model card of an exported run: what the run itself says, and nothing else."""

import re
from collections.abc import Sequence
from importlib.metadata import version

from texthead.data.protocol import Protocol
from texthead.evaluation.calibration import NONE, Calibration
from texthead.evaluation.intervals import wilson_interval
from texthead.exporting.parity import Parity
from texthead.media.fingerprints import fingerprint
from texthead.runs.folder import was_edited
from texthead.runs.metrics import read_records
from texthead.runs.run import Run
from texthead.runs.scores import NAME, read_scores


def model_card(
    run: Run, protocol: Protocol, name: str, parity: Parity, *, made: Calibration | None, file: str, int8: str | None
) -> str:
    """The card as Markdown; `made` is what of the run's calibration goes along."""
    sections = [
        f"# {name}\n\n{_what(run, protocol, made)}",
        f"## Use\n\n{_use(protocol, file)}",
        f"## Numbers\n\n{_numbers(run)}\n\n{_calibrated(made)}\n\n{_parity(parity, int8)}",
        f"## Classes\n\n{_classes(run)}",
        f"## Made by\n\n{_made_by(run)}",
    ]
    return "\n\n".join(sections) + "\n"


def _what(run: Run, protocol: Protocol, made: Calibration | None) -> str:
    recipe, head = run.recipe, run.head
    clip = "1 frame" if protocol.frames == 1 else f"{protocol.frames} frames of a clip"
    return (
        f"Names what is in videos and images: one of {len(run.labels)} classes. Encoder `{run.spec.source}` "
        f"({run.spec.architecture}), {clip} of {protocol.sizes.size}x{protocol.sizes.size} pixels, temporal module "
        f"{recipe.temporal}, head {head.kind}. {_for_any(made)}"
    )


def _for_any(made: Calibration | None) -> str:
    """What it says of a file that is none of its classes."""
    if made is None or made.threshold is None:
        return "It names one of its classes for any file, also for what is none of them."
    rate, limit, unknown = made.threshold
    return (
        f"Where the best probability is not above {limit:.3f} it says {NONE}: of files of none of its classes at most "
        f"{100 * rate:g} % get a name, if they are like the {unknown} that set that."
    )


def _calibrated(made: Calibration | None) -> str:
    """What `texthead calibrate` measured, as far as it goes along."""
    if made is None:
        return "The run is not calibrated: its probabilities are what the head says."
    source = f" ({made.source})" if made.source else ""
    told = f"Calibrated on {made.items} items{source}: temperature {made.temperature:.3g}"
    found = made.measured
    if found is None:
        return f"{told}."
    before, after = found.before.bins.error, found.after.bins.error
    told += f", expected calibration error {before:.1f} points before and {after:.1f} after"
    if made.threshold and found.turned_away is not None:
        told += f"; {found.turned_away} of these items are turned away as {NONE}"
    if made.coverage and found.held is not None:
        told += (
            f"; label sets hold the label in {100 * made.coverage.level:g} % of cases or more, with {found.labels:.2f} "
            "labels on average"
        )
    return f"{told}."


def _use(protocol: Protocol, file: str) -> str:
    runtime = "torch" if file.endswith(".pt2") else "onnxruntime"
    lines = [
        f"    pip install numpy {runtime} av      # and pillow for JPEG; PNG and videos do without",
        "    python predict.py clip.mp4 photo.png",
    ]
    views = f"{protocol.views} views (clips x crops), {protocol.pooling} averaged in the model"
    told = (
        f"`{file}` takes `clips`: uint8 RGB, axes batch, views, frames, channels, height, width; any batch and any "
        f"number of frames; {views}. It gives `scores`, batch by classes in the order of `classes.json`; "
        "softmax(scores / temperature) are probabilities. `preprocessing.json` says how a file becomes clips, "
        "`thresholds.json` holds "
        'the temperature and, of a calibrated run, the threshold for "none of these" and the quantile of label sets.'
    )
    risk = "\n\nLoading a .pt2 file can run code that is in it: load this one only if you trust who made it."
    return "\n".join(lines) + f"\n\n{told}" + (risk if runtime == "torch" else "")


def _numbers(run: Run) -> str:
    """What the run was scored at its end, or in training, and how many items there were."""
    return f"Trained on {len(run.trained_on)} items, {len(run.held_out)} held out. {_scored(run)}{_changed(run)}"


def _scored(run: Run) -> str:
    found = read_scores(run.folder)
    if found:
        *others, own = found.methods
        best, more = sorted(others, key=lambda score: -score.top1)[:3], ""
        if len(others) > len(best):
            more = f" {len(others) - len(best)} more are in `{NAME}`."
        beside = "".join(f" Beside it, {score.method}: {score.top1:.1f} %." for score in best) + more
        top5 = f", top-5 {own.top5:.1f} %" if own.top5 < 100 else ""
        return (
            f"Scored when it was made (`{NAME}`, {found.scored} items): top-1 {own.top1:.1f} % of {own.items} (95 % "
            f"interval {own.low:.1f}-{own.high:.1f}){top5}.{beside}"
        )
    seen = [record for record in read_records(run.folder) if record.get("kind") == "val"]
    if not seen or not all(isinstance(seen[-1].get(key), (int, float)) for key in ("epoch", "top1", "count")):
        return f"The run holds no score in `{NAME}` and no validation in `metrics.jsonl`."
    last = seen[-1]
    right = round(last["top1"] * last["count"] / 100)
    return (
        f"Last validation of the run (`metrics.jsonl`, epoch {last['epoch'] + 1}): top-1 {_rate(right, last['count'])}."
    )


def _changed(run: Run) -> str:
    """What makes the numbers those of other rows than the card's."""
    if run.classes is None:
        return " That is of the run's own classes, not of these."
    return " The classes were edited since." if was_edited(run.classes) else ""


def _rate(right: int, count: int) -> str:
    low, high = wilson_interval(right, count)
    return f"{100 * right / count:.1f} % of {count} (95 % interval {low:.1f}-{high:.1f})"


def _parity(parity: Parity, int8: str | None) -> str:
    """What was measured when the folder was written."""
    way = f" The weights have eight bits ({int8} quantisation)." if int8 else ""
    frames = ", ".join(map(str, parity.frames))
    lines = [
        f"Measured at export against the run in texthead, on clips of {frames} frames"
        + (f" and {parity.files} of the held-out files" if parity.files else "")
        + f": scores differ by at most {parity.scores:.1e}, probabilities by {parity.probabilities:.1e}.{way}"
    ]
    if parity.files:
        lines.append(
            f"Of those files {parity.agree} get the same best name; right are {_rate(parity.right, parity.files)}, "
            f"{_rate(parity.right_before, parity.files)} by the run itself. `predict.py` gave the model "
            + ("the same pixels, to the bit." if parity.same_pixels else "other pixels for some.")
        )
    else:
        lines.append("No held-out file of the run was there to try.")
    return " ".join(lines)


def _classes(run: Run) -> str:
    """A line a class: its label and the exact strings behind its row."""
    entries = (run.classes or {}).get("classes")
    if entries is None:
        prompts: Sequence[object] = run.head.prompts or [None] * len(run.labels)
        entries = [{"label": a, "prompt": b} for a, b in zip(run.labels, prompts, strict=True)]
    return "\n".join(f"- {_code(entry['label'])}{_prompts(entry['prompt'])}" for entry in entries)


def _prompts(prompt: object) -> str:
    if prompt is None:
        return " (learned or drawn row, no text)"
    each = [prompt] if isinstance(prompt, str) else list(prompt)  # pyright: ignore[reportArgumentType]
    return f": {', '.join(_code(text) for text in each)}"


def _code(text: object) -> str:
    """Text as it is, in a line of Markdown."""
    shown = " ".join(str(text).split())
    if "`" not in shown:
        return f"`{shown}`"
    # Markdown takes one blank away on each side, and reads no backtick of the text as one of the marks.
    marks = "`" * (1 + max(len(run) for run in re.findall("`+", shown)))
    return f"{marks} {shown} {marks}"


def _made_by(run: Run) -> str:
    weights = fingerprint(run.folder / "model.safetensors")
    packages = ", ".join(f"{name} {version(name)}" for name in ("texthead", "torch", "av"))
    return f"`texthead export` ({packages}) from a run of recipe `{run.recipe.name}`, weights `{weights}`."
