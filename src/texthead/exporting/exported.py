"""Predict with an exported folder, using onnxruntime and no torch."""

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

# Memory limit in bytes for the models of a process: half of the machine's memory.
MOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Thresholds(NamedTuple):
    """The temperature of an exported run, and its rejection threshold if any."""

    temperature: float
    threshold: object | None


class Exported:
    """An exported folder. Runs only its model, never its predict.py; its other files are treated as data.

    Raises:
        RunError: the folder is damaged, has another version, or is not an ONNX export.
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
        except Exception as error:  # onnxruntime has an exception type for each error code.
            raise RunError(f"{folder}: cannot be used ({type(error).__name__}); export it again") from None
        thresholds = self._predictor.thresholds
        self.has_sets = thresholds["coverage"] is not None
        calibrated = thresholds["temperature"] != 1 or thresholds["threshold"] is not None
        self.calibration = Thresholds(thresholds["temperature"], thresholds["threshold"]) if calibrated else None

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
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
            DataError: `sets` is given, but the export has no prediction sets.
            MediaError: a file cannot be read and `skip_unreadable` is off.
            RunError: the model fails.
        """
        if sets and not self.has_sets:
            raise DataError(
                "prediction sets need an export of a calibrated run; run texthead calibrate RUN DATA, and export again"
            )
        predictions = []
        for path in paths:
            predictions.append(self._predict_one(path, top, sets=sets, skip=skip_unreadable))
            if progress:
                progress(len(predictions), len(paths))
        return predictions

    def _predict_one(self, path: Path, top: int, *, sets: bool, skip: bool) -> Prediction:
        try:
            entry: dict[str, Any] = self._predictor.predict(path, len(self._predictor.names) if sets else top)
        except Refused as error:
            if not skip:
                raise MediaError(path, f"{error}; or use skip_unreadable to list and skip such files") from None
            return Prediction(path, error=str(error))
        except Unusable as error:
            raise RunError(str(error)) from None
        except Exception as error:
            raise RunError(
                f"{self._predictor.file}: fails on {path} ({type(error).__name__}; memory limit: half of the "
                "machine's); export it again"
            ) from None
        set_size = len(entry["set"]) if sets else None
        pairs = [(pair["name"], pair["probability"]) for pair in entry["top"][: max(top, set_size or 0)]]
        return Prediction(path, tuple(pairs), known=entry.get("answer") != NONE, set_size=set_size)


# ---- files of the folder


def _read(file: Path) -> dict[str, Any]:
    """Read a JSON file of the folder; check the settings that matter here."""
    if not file.is_file():
        raise RunError(f"{file}: missing, or not a regular file; export it again")
    values = read_json(file)
    if file.stem == "preprocessing":
        check_values(file, values)
        if values["model"] != MODEL:
            raise RunError(
                f"{file.parent}: its model is {values['model']!r}, but texthead runs only {MODEL}; export it with "
                "to=onnx, or use its predict.py"
            )
        size = values["in_the_model"]["size"]
        check_clip_size(values["frames"] * values["views"]["clips"], size, values["resize"])
        if values["resize"] < size:
            raise RunError(f"{file}: resize must be at least size ({size}), got {values['resize']}; export it again")
    return values


def _load(file: Path, classes: int) -> Model:
    """Load the model with limited memory; onnxruntime gets exactly the checked content."""
    check_model_file(file)
    content = _content(file)
    _limit_memory()
    return onnx_model(file, classes, content, [("session.use_env_allocators", "1")])


def _content(file: Path) -> bytes:
    """Return an ONNX model, reserialised.

    Raises:
        RunError: it has loops or branches, or loads weights from other files.
    """
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    for part in _parts(model):
        if isinstance(part, onnx.TensorProto) and part.data_location == part.EXTERNAL:
            raise RunError(f"{file}: loads weights from other files, which is not allowed; export it again")
        if isinstance(part, onnx.AttributeProto) and (part.HasField("g") or part.graphs):
            raise RunError(f"{file}: has loops or branches, which are not allowed; export it again")
    return model.SerializeToString()


def _parts(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all nested messages."""
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for each in value if isinstance(value, Sequence) else [value]:
                yield from _parts(each)


@cache
def _limit_memory() -> None:
    """Limit the memory of exported models in this process: a graph of 600 bytes can request any amount."""
    import onnxruntime

    api: Any = onnxruntime
    memory = api.OrtMemoryInfo("Cpu", api.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, api.OrtMemType.DEFAULT)
    api.create_and_register_allocator(memory, api.OrtArenaCfg({"max_mem": MOST_MEMORY}))
