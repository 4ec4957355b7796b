"""`texthead export`: write a run as a folder that predicts without texthead, or upload it to the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import common, console, option, with_classes
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.runs import check_run

_HUB = "hub:"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run as a folder that predicts without texthead, or upload it to the Hugging Face Hub.

    The folder holds the model with its text head, the preprocessing, class names, thresholds, a predict.py that needs
    numpy, pillow, av and onnxruntime, and a model card. To use a run from the Hub: texthead predict hub:ORG/NAME FILE.

    Args:
        out: folder to make
        to: hub:ORG/NAME to upload the run to, with a model card
        private: make the repository on the hub private
    """

    JSON: ClassVar = "out, bytes, frames, scores, probabilities, files, agree; for a hub run, url"

    run: str = common("run")
    out: str | None = option(None, "FOLDER", writes="/")
    to: str | None = option(None, "hub:ORG/NAME")
    private: bool = False
    classes: str | None = common("classes")

    def check(self) -> None:
        """Raise RunError if RUN is not a run, DataError if options exclude each other."""
        check_run(self.run)
        if self.to is not None:
            if not self.to.startswith(_HUB):
                raise DataError(f"`to` must be {_HUB}ORG/NAME, got '{self.to}'; `out` writes a folder")
            for name in ("out", "classes"):
                if getattr(self, name) is not None:
                    raise DataError(f"--{name}: {self.to} takes the run as it is; remove --{name}")
        elif self.out is None:
            raise DataError("export needs --out FOLDER, the folder to make, or --to hub:ORG/NAME")
        elif self.private:
            raise DataError("--private is for a repository on the Hub; add --to hub:ORG/NAME, or remove --private")
        else:
            check_extra("onnx", "texthead export")

    def __call__(self) -> None:
        console.status(f"loading {self.run}")
        from texthead import load_run

        run = load_run(self.run, allow_download=self.to is not None)
        if self.to is not None:
            from texthead.apps.export.upload import push_to_hub

            console.status(f"uploading the run to {self.to}")
            url = push_to_hub(run, self.to.removeprefix(_HUB), private=self.private or None)
            console.results().print(url)
            console.show_json({"run": self.to, "url": url})
            console.next_command("texthead", "predict", self.to, "FILE")
            return
        from texthead.apps.export.export import export as export_run

        console.status("writing the model (about a minute)")
        run, out = with_classes(run, self.classes), Path(self.out or "")
        parity = export_run(run, out, reporter=console.reporter)
        console.results().print(
            f"clips of {', '.join(map(str, parity.frames))} frames: scores differ from the run's by at most "
            f"{parity.scores:.1e}, probabilities by {parity.probabilities:.1e}"
        )
        if parity.files:
            what = "exactly the same classes" if run.model.multilabel else "the same top-1 class"
            agreement = f"{what} as the run for {parity.agree} of {parity.files} held-out files"
        else:
            agreement = "no held-out file of the run exists, so the model was not compared on files"
        console.results().print(agreement)
        size = sum(file.stat().st_size for file in out.iterdir())
        console.results().print(f"{out}: {size / 1e6:.1f} MB with predict.py and the model card README.md")
        console.results().print("predict.py needs Python and `pip install numpy pillow av onnxruntime`")
        console.show_json({"out": out, "bytes": size, **vars(parity)})
        console.next_command("python", out / "predict.py", "FILE")
