"""Predictions of an exported folder, by onnxruntime and without torch."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from texthead.errors import DataError, MediaError, RunError
from texthead.exporting.standalone import (
    Model,
    Predictor,
    Refused,
    Unusable,
    check_model_file,
    check_values,
    onnx_model,
)
from texthead.extras import missing
from texthead.files import read_json
from texthead.parallel.progress import Progress
from texthead.prediction.formats import Prediction
from texthead.recipes import check_clip_size
from texthead.text.class_names import NONE

MODEL = "model.onnx"

# Bytes that models may take at once, in a process: half of the machine's.
MOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


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
        try:
            self._predictor = Predictor(folder, _read, _load)
        except Unusable as error:
            raise RunError(str(error)) from None
        except ImportError as error:
            raise RunError(missing(f"{folder}: an exported folder", error.name or "onnxruntime", "onnx")) from None
        except RunError:
            raise
        except Exception as error:  # onnxruntime raises a kind of its own for each code.
            raise RunError(f"{folder}: cannot be used ({type(error).__name__}); export it again") from None
        thresholds = self._predictor.thresholds
        self.has_sets = thresholds["coverage"] is not None
        calibrated = thresholds["temperature"] != 1 or thresholds["threshold"] is not None
        self.calibration = Thresholds(thresholds["temperature"], thresholds["threshold"]) if calibrated else None

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
        except Unusable as error:
            raise RunError(str(error)) from None
        except Exception as error:
            raise RunError(
                f"{self._predictor.file}: does not run on {path} in half of the machine's memory "
                f"({type(error).__name__}); export it again"
            ) from None
        inside = len(found["set"]) if sets else None
        pairs = [(pair["name"], pair["probability"]) for pair in found["top"][: max(top, inside or 0)]]
        return Prediction(path, tuple(pairs), known=found.get("answer") != NONE, set_size=inside)


# ---- the files of a folder


def _read(file: Path) -> dict[str, Any]:
    """Return what a file of the folder holds; of the settings, check what is run here."""
    if not file.is_file():
        raise RunError(f"{file}: missing, or no plain file: export it again")
    values = read_json(file)
    if file.stem == "preprocessing":
        check_values(file, values)
        if values["model"] != MODEL:
            raise RunError(
                f"{file.parent}: its model is {values['model']!r}, texthead runs {MODEL}: export it with to=onnx, or "
                "use the predict.py in it"
            )
        size = values["in_the_model"]["size"]
        check_clip_size(values["frames"] * values["views"]["clips"], size, values["resize"])
        if values["resize"] < size:
            raise RunError(
                f"{file}: resize must be at least the {size} of size, got {values['resize']}: export it again"
            )
    return values


def _load(file: Path, classes: int) -> Model:
    """Return the model; onnxruntime gets exactly what was checked, and limited memory."""
    check_model_file(file)
    content = _content(file)
    _limit_memory()
    return onnx_model(file, classes, content, [("session.use_env_allocators", "1")])


def _content(file: Path) -> bytes:
    """Return an ONNX model, written anew.

    Raises:
        RunError: it has loops or branches, or takes weights from other files.
    """
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    for part in _parts(model):
        if isinstance(part, onnx.TensorProto) and part.data_location == part.EXTERNAL:
            raise RunError(f"{file}: takes weights from other files: export it again")
        if isinstance(part, onnx.AttributeProto) and (part.HasField("g") or part.graphs):
            raise RunError(f"{file}: has loops or branches, which may run without end: export it again")
    return model.SerializeToString()


def _parts(message: Any) -> Iterator[Any]:
    """Yield a message of protobuf and all that it holds."""
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for each in value if isinstance(value, Sequence) else [value]:
                yield from _parts(each)


@cache
def _limit_memory() -> None:
    """Limit what the models of exports take in this process: a graph of 600 bytes can ask for any amount."""
    import onnxruntime

    api: Any = onnxruntime
    memory = api.OrtMemoryInfo("Cpu", api.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, api.OrtMemType.DEFAULT)
    api.create_and_register_allocator(memory, api.OrtArenaCfg({"max_mem": MOST_MEMORY}))
