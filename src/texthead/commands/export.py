"""`texthead export`: a run as a folder that predicts without texthead."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from texthead.commands.options import ProtocolOptions, TemplateOptions
from texthead.commands.parser import argument, option
from texthead.runs.saved import check_run

if TYPE_CHECKING:
    from texthead.exporting.parity import Parity


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run as a folder that predicts without texthead.

    The folder holds the model with its text head, the preprocessing, class names, thresholds, a predict.py that needs
    numpy, av and onnxruntime, and a model card.

    Args:
        run: a run folder
        out: the folder to make
        to: for onnxruntime, or for torch
        int8: weights of eight bits: smaller; what it costs is measured on held-out files and is in the card
        classes: other classes: names.txt, classes.json or 'a kite, a bird'
    """

    run: str = argument("RUN")
    out: str = option(metavar="FOLDER")
    to: Literal["onnx", "torch"] = "onnx"
    int8: bool = False
    classes: str | None = None
    prompts: TemplateOptions = TemplateOptions()
    protocol: ProtocolOptions = ProtocolOptions()

    def check(self) -> None:
        """Raise RunError if RUN is no run."""
        check_run(self.run)

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes, results
        from texthead.commands.model import with_classes
        from texthead.exporting.export import check_export
        from texthead.exporting.export import export as export_run
        from texthead.runs.run import load_run

        out = Path(self.out)
        self.prompts.check_used(self.classes is not None, "--classes")
        check_export(out, self.to, int8=self.int8)
        run = with_classes(load_run(self.run), self.classes, self.prompts)
        protocol = self.protocol.on(run.protocol)
        notes().print("writing the model takes a minute or so")
        with bar("compare with the run", "files") as progress:
            found = export_run(run, out, to=self.to, int8=self.int8, protocol=protocol, progress=progress)
        for line in said(found, int8=self.int8):
            results().print(line)
        size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        results().print(
            f"{out}: {size:.1f} MB; `python {out}/predict.py FILE...` names files, README.md is the model card"
        )


def said(found: "Parity", *, int8: bool) -> list[str]:
    """Lines of what was measured."""
    frames = ", ".join(map(str, found.frames))
    lines = [
        f"clips of {frames} frames: scores differ from the run's by at most {found.scores:.1e}, probabilities by "
        f"{found.probabilities:.1e}"
    ]
    if not found.files:
        return [*lines, "no held-out file of the run is there to try"]
    what = f"{found.files} held-out files: the same best name for {found.agree}"
    cost = f"; {found.right} right, {found.right_before} before" if int8 or found.agree < found.files else ""
    return [*lines, what + cost]
