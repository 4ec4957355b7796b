"""Predictions, and their JSON and CSV; without torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from texthead.notebook import html_table
from texthead.text.class_names import NONE

CSV_COLUMNS = ("path", "rank", "name", "probability", "error")

# Names of a file that a notebook shows.
MOST_NAMES = 3


@runtime_checkable
class Calibrated(Protocol):
    """What is said of a calibration beside predictions; `Calibration` is one."""

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        ...

    @property
    def threshold(self) -> object | None:
        """The threshold of the best probability, if there is one."""
        ...


@dataclass(frozen=True)
class Prediction:
    """The best names of one file, best first, with their probabilities (0-1); or why it could not be read.

    Of a calibrated run, `known` is False where the best one is not above its threshold: then the answer is none of
    them. The label set, where it was asked for, is the first `set_size` names.
    """

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    known: bool = True
    set_size: int | None = None


class Predictions(list[Prediction]):
    """A list of predictions that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        places = range(max((min(len(found.top), MOST_NAMES) for found in self if found.top), default=1))
        rows = []
        for found in self:
            names = [f"{name} ({100 * value:.1f} %)" for name, value in found.top[: len(places)]]
            if not found.known:
                names[:1] = [f"{NONE} (best: {names[0]})"]
            if found.error:
                names = [f"not readable: {found.error}"]
            rows.append([found.path, *names, *[None] * (len(places) - len(names))])
        columns = ("file", *("prediction" if place == 0 else str(place + 1) for place in places))
        return html_table(columns, rows, caption=f"{len(self)} files")


def json_entry(found: Prediction, calibration: Calibrated | None = None) -> dict[str, Any]:
    """Return the prediction as JSON holds it: probabilities to a millionth, an error only where there is one.

    Of a calibrated run also the temperature, the answer (null for none of these) and the label set, where it has them.
    """
    top = [{"name": name, "probability": round(value, 6)} for name, value in found.top]
    entry: dict[str, Any] = {"path": str(found.path), "top": top}
    if found.error:
        return entry | {"error": found.error}
    if calibration is not None:
        entry["temperature"] = calibration.temperature
        if calibration.threshold is not None:
            entry["answer"] = found.top[0][0] if found.known else None
    if found.set_size is not None:
        entry["set"] = [name for name, _ in found.top[: found.set_size]]
    return entry


def csv_columns(calibration: Calibrated | None, *, sets: bool) -> tuple[str, ...]:
    """Return the columns of a table of predictions, with "answer" for a threshold and "in_set" for sets."""
    answer = ("answer",) if calibration and calibration.threshold else ()
    return (*CSV_COLUMNS, *answer, *(("in_set",) if sets else ()))


def csv_rows(predictions: Iterable[Prediction], columns: Sequence[str] = CSV_COLUMNS) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table with the columns: one per name, or one with why the file could not be read.

    The answer stands beside the best name: that name, or "none of these".
    """
    for found in predictions:
        for rank, (name, probability) in enumerate(found.top, 1):
            row = {"path": found.path, "rank": rank, "name": name, "probability": f"{probability:.6f}"}
            row["answer"] = "" if rank > 1 else name if found.known else NONE
            row["in_set"] = "yes" if rank <= (found.set_size or 0) else "no"
            yield tuple(row.get(column, "") for column in columns)
        if found.error:
            row = {"path": found.path, "error": found.error}
            yield tuple(row.get(column, "") for column in columns)
