"""The sections of the model card that are about an exported folder: how to use it, and how far it is from the run."""

from texthead.data.protocol import Protocol
from texthead.exporting.parity import Parity
from texthead.runs.model_card import rate


def use_section(file: str, protocol: Protocol) -> str:
    """Return how `predict.py` and the model file are used.

    Args:
        file: the model file's name.
        protocol: how the model evaluates a file.
    """
    torch = file.endswith(".pt2")
    section = f"""## Use

    pip install numpy {"torch" if torch else "onnxruntime"} av      # and pillow for JPEG; PNG and videos do without
    python predict.py clip.mp4 photo.png

`{file}` takes `clips`: uint8 RGB, scaled, axes batch, clips, frames, height, width, channels; any batch and any number
of frames. It crops and normalises; {protocol.views} views (clips x crops), {protocol.pooling} averaged in the model. It
gives `scores`, batch by classes in the order of `classes.json`; softmax(scores / temperature) are probabilities.
`preprocessing.json` says how a file becomes clips, `thresholds.json` holds the temperature and, of a calibrated run,
the threshold for "none of these" and the quantile of label sets."""
    if torch:
        section += "\n\nLoading a .pt2 file can run code that is in it: load this one only if you trust who made it."
    return section


def parity_section(found: Parity, int8: str | None) -> str:
    """Return what the export was found to differ from the run.

    Args:
        found: the differences.
        int8: how its weights were quantised; None if they were not.
    """
    files = f" and {found.files} of the held-out files" if found.files else ""
    parts = [
        "Measured at export against the run in texthead, on clips of "
        f"{', '.join(map(str, found.frames))} frames{files}:",
        f"scores differ by at most {found.scores:.1e}, probabilities by {found.probabilities:.1e}.",
    ]
    if int8:
        parts.append(f"The weights have eight bits ({int8} quantisation).")
    if not found.files:
        return "\n".join([*parts, "No held-out file of the run was there to try."])
    pixels = "the same pixels, to the bit" if found.same_pixels else "other pixels for some"
    return "\n".join(
        [
            *parts,
            f"Of those files {found.agree} get the same best name; right are {rate(found.right, found.files)},",
            f"{rate(found.right_before, found.files)} by the run itself. `predict.py` gave the model {pixels}.",
        ]
    )
