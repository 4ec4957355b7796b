"""The model card's sections about an exported folder: how to use it, and how it differs from the run."""

from texthead.apps.export.model_card import rate
from texthead.apps.export.parity import Parity
from texthead.data import Protocol


def use_section(file: str, protocol: Protocol, *, several: bool = False) -> str:
    """Return the section on using `predict.py` and the model file.

    Args:
        file: name of the model file.
        protocol: frames, views and sizes of the model.
        several: whether a file may have several classes.
    """
    odds = "softmax"
    limits = ', for a calibrated run, the threshold for "none of these" and the quantile of prediction sets.'
    if several:
        odds = "sigmoid"
        limits = " the threshold of each class: a file has all classes with scores from their thresholds on, or none."
    torch = file.endswith(".pt2")
    section = f"""## Use

    pip install numpy pillow av {"torch" if torch else "onnxruntime"}
    python predict.py clip.mp4 photo.png

The input of `{file}` is `clips`: scaled uint8 RGB with axes batch, clips, frames, height, width, channels; batch size
and number of frames are free. The model crops and normalises, and averages the {protocol.pooling} of {protocol.views}
views (clips x crops). Its output is `scores`: batch x classes in the order of `classes.json`; {odds}(scores /
temperature) are the probabilities. `preprocessing.json` says how to turn a file into clips; `thresholds.json` has the
temperature and{limits}"""
    if torch:
        section += "\n\nLoading a .pt2 file can run code that is in it; load this one only if you trust its author."
    return section


def parity_section(parity: Parity, int8: str | None, *, several: bool = False) -> str:
    """Return the section on how the exported model differs from the run.

    Args:
        parity: the differences.
        int8: method of quantisation, or None.
        several: whether a file may have several classes.
    """
    same, rated = ("exactly the same classes", "All classes right") if several else ("the same class", "Accuracy")
    files = f" and {parity.files} held-out files" if parity.files else ""
    lines = [
        f"Compared at export with the run in texthead, on clips of {', '.join(map(str, parity.frames))} frames{files}:",
        f"scores differ by at most {parity.scores:.1e}, probabilities by {parity.probabilities:.1e}.",
    ]
    if int8:
        lines.append(f"The weights have 8 bits ({int8} quantisation).")
    if not parity.files:
        return "\n".join([*lines, "No held-out file of the run was available."])
    lines.append(f"Both predict {same} for {parity.agree} of them. {rated}: {rate(parity.right, parity.files)};")
    before = f"of the run itself: {rate(parity.right_before, parity.files)}"
    return "\n".join([*lines, f"{before}. `predict.py` gave the model exactly the same pixels."])
