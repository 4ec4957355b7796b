"""`texthead export`: a run as a folder that predicts without texthead, or as a repository of a hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.commands.options import DownloadOptions, ProtocolOptions, TemplateOptions, local_run
from texthead.commands.outputs import check_folder
from texthead.commands.parser import argument, option, values_of
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.runs.saved import check_run

if TYPE_CHECKING:
    from texthead.exporting.parity import Parity

_HUB = "hub:"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run as a folder that predicts without texthead, or upload it to a hub.

    The folder holds the model with its text head, the preprocessing, class names, thresholds, a predict.py that needs
    numpy, av and onnxruntime, and a model card. On a hub the run stays a run: texthead predict hub:ORG/NAME FILE.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]
        out: the folder to make
        to: onnx, torch, or hub:ORG/NAME, which uploads the run with a model card
        private: on a hub: only you and your organisation can read it
        int8: weights of eight bits: smaller; what it costs is measured on held-out files and is in the card
        classes: other classes: names.txt, classes.json or 'a kite, a bird'
    """

    run: str = argument("RUN", read=local_run)
    downloads: DownloadOptions = DownloadOptions()
    out: str | None = option(None, "FOLDER")
    to: str = option("onnx", "TARGET")
    private: bool = False
    int8: bool = False
    classes: str | None = None
    prompts: TemplateOptions = TemplateOptions()
    protocol: ProtocolOptions = ProtocolOptions()

    def check(self) -> None:
        """Raise RunError if RUN is no run, DataError for options that do not go together."""
        check_run(self.run)
        if self.to.startswith(_HUB):
            plain = values_of(Export(run=self.run, to=self.to, private=self.private, downloads=self.downloads))
            for name, value in values_of(self).items():
                if value != plain[name]:
                    raise DataError(f"--{name.replace('_', '-')}: {self.to} takes the run as it is; leave it out")
        elif self.out is None:
            raise DataError(f"export --to {self.to} needs --out, the folder to make")
        elif self.private:
            raise DataError(f"--private is for a hub (--to hub:ORG/NAME), and --to is {self.to}: leave it out")
        else:
            check_folder(f"--out {self.out}", Path(self.out))
        if self.to == "onnx":
            check_extra("onnx", "--to onnx")

    def __call__(self) -> None:
        if self.to.startswith(_HUB):
            self._upload()
        else:
            self._write()

    def _upload(self) -> None:
        """Upload the run and print where it is."""
        from texthead.commands.console import notes, results
        from texthead.runs.run import load_run

        run = load_run(self.run)
        notes().print(f"uploading the run to {self.to}")
        results().print(run.push_to_hub(self.to.removeprefix(_HUB), private=self.private or None))
        results().print(f"`texthead predict {self.to} FILE...` uses it")

    def _write(self) -> None:
        """Write the folder and print what was measured."""
        from texthead.commands.console import bar, notes, results
        from texthead.commands.model import with_classes
        from texthead.exporting.export import check_export
        from texthead.exporting.export import export as export_run
        from texthead.runs.run import load_run

        assert self.out is not None
        out = Path(self.out)
        self.prompts.check_used(self.classes is not None, "--classes")
        to = check_export(out, self.to, int8=self.int8)
        run = load_run(self.run, allow_download=self.downloads.allow_download)
        run = with_classes(run, self.classes, self.prompts)
        protocol = self.protocol.on(run.protocol)
        notes().print("writing the model takes a minute or so")
        with bar("compare with the run", "files") as progress:
            found = export_run(run, out, to=to, int8=self.int8, protocol=protocol, progress=progress)
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
