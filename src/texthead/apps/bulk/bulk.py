"""Predict millions of files with Ray Data: read -> decode on any CPU -> encode by actors -> write Parquet files.

predict.json   the request: model, protocol and options
*.parquet      predictions: a row per file with path, top, answer, labels, set and error
"""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from texthead import Protocol, Recognizer, Reporter, Run
from texthead.data import ViewClips, read_files
from texthead.encoders import weights_key
from texthead.errors import DataError, MediaError, PositiveInt, RunError, line_of, raising
from texthead.extensions import code_of_packages
from texthead.extras import needs
from texthead.features import Engine
from texthead.files import read_json, write_json
from texthead.media import MediaPath
from texthead.parallel import own_variables
from texthead.prediction import entry_scores, json_entry, predictions_of

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "predict.json"

# Files of a block, whose predictions are one Parquet file.
_BLOCK = 1000


class Predicted(NamedTuple):
    """The files in a folder of predictions, those that it had before, and those that could not be read."""

    files: int
    before: int
    unreadable: int


def predict_many(
    run: Run,
    source: str | Path,
    out: str | Path,
    *,
    top: PositiveInt = 5,
    sets: bool = False,
    processes: PositiveInt | None = None,
    batch: PositiveInt = 1,
    reporter: Reporter = Reporter(),
) -> Predicted:
    """Write the predictions of many files to a folder, except of those that it has; unreadable files have an error.

    Uses the Ray cluster that this process is connected to, or the one at `RAY_ADDRESS`, or a temporary one on this
    machine. All machines need texthead, the files and `out` at the same paths.

    Args:
        source: a CSV or TSV with a column `path` (and `start` and `end` for parts of videos) or a `.txt` with one path
            per line, relative to that file; a YAML file; a folder of videos and images; or prepared shards.
        sets: also write the prediction sets of a calibrated run.
        processes: processes that encode; one per GPU of the cluster if None, or without any one per two CPUs.
        batch: files encoded together; more is faster, but the last digits then depend on the other files.

    Raises:
        DataError: the source does not exist, lists no file or breaks a rule, or `out` has something else in it.
        RunError: Ray is not installed or cannot start, or `out` cannot be written.
    """
    model, protocol, out = run.model, run.protocol, Path(out)
    calibration = run.answering(protocol, sets=sets)
    sure = None if calibration is None else {**calibration.to_json(with_items=False), "sets": sets}
    code = code_of_packages(*(f"texthead.{kind}" for kind in ("encoders", "heads", "readers", "temporal")))
    request = {"model": weights_key(model, repr(model)), "code": code, "labels": [*model.names], "top": top}
    request["calibration"] = sure
    _open_folder(out, request | protocol.to_json())
    names = dict.fromkeys(_names(MediaPath(source).resolved().path, reporter))
    if not names:
        raise DataError(f"{source}: lists no files; write one path per line")
    before = _written(out)
    left = [{"path": name} for name in names if name not in before]
    reporter.say(f"{len(names)} files, {len(names) - len(left)} of them with predictions already")
    if left:
        about = {"top": top, "calibration": calibration, "sets": sets, "thresholds": model.thresholds}
        with cluster() as ray:
            total = ray.cluster_resources()
            gpus = min(1, total.get("GPU", 0))
            count = processes or int(total.get("GPU", 0)) or max(1, int(total.get("CPU", 1)) // 2)
            try:
                (
                    ray.data.from_items(left, override_num_blocks=math.ceil(len(left) / _BLOCK))
                    .map_batches(_decode, batch_size=batch, fn_args=(protocol, own_variables()))
                    .map_batches(
                        _Encoder,
                        batch_size=batch,
                        batch_format="pyarrow",
                        fn_constructor_args=(model.frozen_copy().cpu(), protocol, gpus > 0, about),
                        num_gpus=gpus,
                        compute=ray.data.ActorPoolStrategy(size=count),
                    )
                    .write_parquet(str(out.absolute()), ray_remote_args={"num_cpus": 0})
                )
            except (OSError, ray.exceptions.RayError) as error:
                problem = f"Ray failed ({line_of(error)}); run the command again to continue"
                raise RunError(f"{out}: {problem}") from None
    after = _written(out)
    return Predicted(len(after), len(before), sum(after.values()))


# ---- on the cluster


@contextmanager
def cluster() -> Iterator[Any]:
    """Return the module `ray`, connected; shut down the cluster on exit if it was started here.

    Raises:
        RunError: Ray is not installed or cannot start.
    """
    # Ray would send usage statistics, report each step on stderr, and a cluster started here would serve other
    # machines. It reads the last two variables at its import.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "WARNING")
    address = os.environ.get("RAY_ADDRESS", "local")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with needs("ray", "bulk"):
        import ray
        import ray.data
    own = not ray.is_initialized()
    if own:
        # Even without statistics, Ray asks three clouds by HTTP whether it runs there; this proxy does not exist.
        proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""} if address == "local" else {}
        # A process of Ray that does not start is a bare Exception.
        faults = raising(RunError, "Ray cannot start", "check RAY_ADDRESS, the address of the cluster", Exception)
        with faults, patch.dict(os.environ, proxies):
            ray.init(address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    # It warns that there are no progress bars; other warnings, such as of too small a cluster, stay.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    try:
        with ray.data.DataContext.current(context):
            yield ray
    finally:
        if own:
            ray.shutdown()


def _decode(batch: dict[str, Any], protocol: Protocol, variables: dict[str, str]) -> dict[str, Any]:
    """Return the views of each readable file as bytes, and each file's error or ""."""
    os.environ.update(variables)
    clips = ViewClips([MediaPath(str(path)).clip().path for path in batch["path"]], protocol)
    decoded = [clips[i] for i in range(len(batch["path"]))]
    errors = [clip.problem if isinstance(clip, MediaError) else "" for clip in decoded]
    return {
        **batch,
        "clip": [b"" if isinstance(c, MediaError) else c.numpy().tobytes() for c in decoded],
        "error": errors,
    }


class _Encoder:
    """Predict the classes of clips; the model is loaded once per actor."""

    def __init__(self, model: Recognizer, protocol: Protocol, cuda: bool, about: dict[str, Any]):
        self.model, self.protocol, self.about = model.to("cuda" if cuda else "cpu"), protocol, about

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        side = self.protocol.sizes.size
        shape = self.protocol.views.count, self.protocol.frames, 3, side, side
        clips = [
            MediaError(row["path"], row["error"])
            if row["error"]
            else torch.frombuffer(bytearray(row["clip"]), dtype=torch.uint8).view(shape)
            for row in batch.to_pylist()
        ]
        paths = [Path(path) for path in batch["path"].to_pylist()]
        scored = entry_scores(self.model, self._features(clips), self.protocol.pooling)
        predictions = predictions_of(self.model.names, paths, *scored, **self.about)
        entries = [{"answer": each.answer_name} | json_entry(each, self.about["calibration"]) for each in predictions]
        text, names = pa.string(), pa.list_(pa.string())
        top = pa.list_(pa.struct([("name", text), ("probability", pa.float64())]))
        columns = {"path": text, "top": top, "answer": text, "labels": names, "set": names, "error": text}
        return pa.table({name: pa.array([each.get(name) for each in entries], type=columns[name]) for name in columns})

    @torch.inference_mode()
    def _features(self, files: list[Tensor | MediaError]) -> list[Tensor | MediaError]:
        """Return the features of the views of each file, or its error."""
        views = [each for each in files if isinstance(each, Tensor)]
        if not views:
            return files
        encode = Engine(self.model.eval().features)
        rows = iter(encode(torch.cat(views).to(self.model.device)).cpu().split([*map(len, views)]))
        return [next(rows) if isinstance(each, Tensor) else each for each in files]


# ---- files


def _names(source: Path, reporter: Reporter) -> Iterator[str]:
    """Yield the files of a source in order, each as its prediction names it: without `./`, for instance."""
    if source.suffix.lower() == ".txt" and source.is_file():
        with raising(DataError, f"{source}: not a readable manifest", "save it as UTF-8"):
            lines = source.read_text(encoding="utf-8-sig").split("\n")
        names = (os.path.join(source.parent, line.strip()) for line in lines if line.strip())  # noqa: PTH118
    else:
        files = read_files(source)
        for note in files.notes:
            reporter.note(note)
        names = map(str, files.paths)
    for name in map(str, map(Path, names)):
        with raising(DataError, f"{source}: {name!r} is not UTF-8, which Parquet needs", "rename the file"):
            name.encode()
        yield name


def _written(out: Path) -> dict[str, bool]:
    """Return the files in the finished Parquet files, and whether each has an error; unfinished ones are removed."""
    import pyarrow as pa
    import pyarrow.parquet

    files: dict[str, bool] = {}
    for part in sorted(out.glob("*.parquet")):
        try:
            table = pyarrow.parquet.read_table(part, columns=["path", "error"])
        except (pa.ArrowInvalid, OSError):
            part.unlink()
            continue
        errors = (error is not None for error in table["error"].to_pylist())
        files.update(zip(table["path"].to_pylist(), errors, strict=True))
    return files


# ---- request


def _open_folder(out: Path, request: dict[str, Any]) -> None:
    """Write the request into a new or empty folder; raise DataError if the folder has another one."""
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if MARK not in others:
        if others:
            raise DataError(f"{out}: contains {others[0]} but no {MARK}; use a new or empty folder")
        write_json(out / MARK, request)
    old = read_json(out / MARK)
    if differ := [key for key in request if old.get(key) != request[key]]:
        raise DataError(
            f"{out}: was started with another {', '.join(differ)}; use the same again, or name a new folder"
        )
