"""Predictions of an exported folder, by onnxruntime and without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from texthead.errors import DataError, MediaError, RunError
from texthead.exporting.standalone import Predictor, Refused
from texthead.files import ONNX_OUTSIDE, read_json
from texthead.parallel.progress import Progress
from texthead.prediction.formats import Prediction
from texthead.recipes import check_clip_size
from texthead.text.class_names import NONE

MODEL = "model.onnx"


class Thresholds(NamedTuple):
    """The temperature of an exported run, and its threshold where it has one."""

    temperature: float
    threshold: object | None


class Exported:
    """An exported folder, whose program is not run: only its model is, and its files are data.

    Raises:
        RunError: the folder is damaged, of another version, or not an export to ONNX.
    """

    def __init__(self, folder: Path):
        for name in ("preprocessing", "classes", "thresholds"):
            read_json(folder / f"{name}.json")
        settings = read_json(folder / "preprocessing.json")
        if settings.get("model") != MODEL:
            raise RunError(
                f"{folder}: its model is {settings.get('model')!r}, texthead runs {MODEL}: export it with to=onnx, or "
                "use the predict.py in it"
            )
        try:
            views, size = settings["views"], settings["in_the_model"]["size"]
            check_clip_size(settings["frames"] * views["clips"], size, settings["resize"])
            if ONNX_OUTSIDE in (folder / MODEL).read_bytes():
                raise RunError(f"{folder / MODEL}: takes weights from other files: export it again")
            self._predictor = Predictor(folder)
            thresholds = self._predictor.thresholds
            self.has_sets = thresholds["coverage"] is not None
            calibrated = thresholds["temperature"] != 1 or thresholds["threshold"] is not None
            self.calibration = Thresholds(thresholds["temperature"], thresholds["threshold"]) if calibrated else None
        except RunError:
            raise
        except ImportError as error:
            raise RunError(f"{folder}: needs {error.name}: pip install 'texthead[onnx]'") from None
        except (Exception, SystemExit) as error:  # onnxruntime raises a kind of its own for each code.
            raise RunError(f"{folder}: cannot be used ({type(error).__name__}); export it again") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it predicts."""
        return tuple(self._predictor.names)

    def predict(
        self,
        paths: Sequence[Path],
        *,
        top: int,
        sets: bool = False,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """Return the prediction of each file.

        Raises:
            DataError: `sets` of an export that has none.
            MediaError: a file that cannot be read, unless `skip_unreadable`.
            RunError: the model does not run.
        """
        if sets and not self.has_sets:
            raise DataError("label sets need an export of a run that is calibrated: texthead calibrate RUN DATA")
        made = []
        for path in paths:
            made.append(self._one(path, top, sets=sets, skip=skip_unreadable))
            if progress:
                progress(len(made), len(paths))
        return made

    def _one(self, path: Path, top: int, *, sets: bool, skip: bool) -> Prediction:
        try:
            found: dict[str, Any] = self._predictor.predict(path, len(self._predictor.names) if sets else top)
        except Refused as error:
            if not skip:
                raise MediaError(path, f"{error}; skip_unreadable would leave out and list such files") from None
            return Prediction(path, error=str(error))
        except Exception as error:
            raise RunError(f"{path}: the model does not run ({type(error).__name__}); export it again") from None
        inside = len(found["set"]) if sets else None
        pairs = [(pair["name"], pair["probability"]) for pair in found["top"][: max(top, inside or 0)]]
        return Prediction(path, tuple(pairs), known=found.get("answer") != NONE, set_size=inside)
