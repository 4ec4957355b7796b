"""`texthead export`: a run as a folder that predicts without texthead."""

from pathlib import Path
from typing import Any

from texthead.commands.console import bar, check_template_is_used, notes, protocol_with, results
from texthead.commands.predict import with_given_classes
from texthead.export.export import check_out
from texthead.export.export import export as export_run
from texthead.export.parity import Parity
from texthead.runs import run as runs


def export(options: Any) -> None:
    """Write the folder, and print how far its model is from the run."""
    out = Path(options.out)
    check_template_is_used(options, options.classes is not None, "--classes")
    check_out(out, options.to, int8=options.int8)
    run = with_given_classes(runs.load_run(options.run), options)
    protocol = protocol_with(options, run.protocol)
    notes().print("writing the model takes a minute or so")
    with bar("compare with the run", "files") as progress:
        found = export_run(run, out, to=options.to, int8=options.int8, protocol=protocol, progress=progress)
    for line in said(found, int8=options.int8):
        results().print(line)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    results().print(f"{out}: {size:.1f} MB; `python {out}/predict.py FILE...` names files, README.md is the model card")


def said(found: Parity, *, int8: bool) -> list[str]:
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
