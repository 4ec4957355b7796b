"""Engines: what turns frames into the features of a frozen encoder, and which of them is the fastest here.

eager        the encoder as torch runs it
onnxruntime  a graph of the encoder that onnxruntime runs, on the CPU
compiled     the encoder through torch.compile, on a GPU
bf16         a copy of the encoder in bfloat16: not exact, so never chosen by `auto`

No engine is the fastest on every processor: `auto` tries onnxruntime on a CPU, torch.compile on a GPU, once for each
encoder, size and machine, where enough frames are to be encoded. The choice and the graph lie in the folder `engines`
of `cache_dir()`.
"""

import copy
import hashlib
import io
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from texthead.encoders.encoder import LazyVisual, Visual
from texthead.errors import RunError
from texthead.features.cache import weights_key
from texthead.features.reading import silent
from texthead.files import ONNX_OUTSIDE, cache_dir, read_json, replacing, write_json
from texthead.media.paths import resolved
from texthead.parallel.device import free_memory
from texthead.recipes import EngineName

# 1 - cosine of features that count as the same.
EXACT = 1e-6

# The mean cosine that bfloat16 must reach.
LEAST_COSINE = 0.998

# So many frames, and so many more per million weights, pay for looking whether a graph is kept and opening it (of a
# ViT-B/32 1.4 CPU-s, and a frame saves 0.024); and for making one.
_LOOK, _MAKE = (24, 1), (256, 4)

# Compiling takes up to minutes and gains parts of the time: frames, and seconds of encoding, that pay for trying it.
_LOOK_COMPILED, _TRY_COMPILED = 10_000, 600.0

# No encoder here takes more for a frame, in bytes: with more free memory than this, nothing is measured.
_PLENTY = 2**28

# All graphs together, in bytes; the ones that were not used for longest go first.
_MOST_KEPT = 2**30

# A trial of rounds that are longer has one.
_TRIAL_SECONDS = 1.0

_FORMAT = 1

Say = Callable[[str], None]

Encode = Callable[[UInt8[Tensor, "frames 3 height width"]], Float[Tensor, "frames dim"]]


class Engine:
    """Frames to features by one engine, which is chosen when the first frames come.

    Args:
        visual: the frozen encoder. Any module but a `Visual` is run as it is.
        wanted: "auto", or the engine to use.
        frames: how many frames are to be encoded in all, as far as that is known: `auto` takes its time only for many.
        say: called with a line after a trial, and for features that are not exact.
        used: called with the engine's name when it is chosen.

    Attributes:
        name: the engine in use; "eager" before the first frames.
    """

    def __init__(
        self, visual: nn.Module, wanted: EngineName = "auto", frames: int = 0, say: Say = silent, used: Say = silent
    ):
        self.name: EngineName = "eager"
        self._say, self._used = say, used
        self._visual, self._frames = visual, frames
        self._most = sys.maxsize  # So many frames at once have not been too many.
        self._bytes = 0  # Of a frame, as far as it was measured.
        self._wanted: EngineName = wanted
        self._encode: Encode | None = None

    def __call__(self, frames: UInt8[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames dim"]:
        """Return the features of frames, on the encoder's device; of some at a time where memory is short.

        Raises:
            RunError: an engine that was asked for cannot run this encoder here, or one frame is too much for the GPU.
        """
        features: list[Tensor] = []
        while len(frames):
            part = frames[: min(self._most, self._fitting(frames))]
            try:
                features.append(self._encoded(part))
                frames = frames[len(part) :]
                continue
            except torch.OutOfMemoryError:
                pass  # Nothing is done in here: the exception holds on to the tensors.
            if len(part) == 1:
                raise RunError("the GPU has no memory for one frame: take device cpu, or a smaller encoder")
            self._most = len(part) // 2
            self._say(f"the GPU has no memory for {len(part)} frames at once: {self._most} from now on")
        return features[0] if len(features) == 1 else torch.cat(features)

    def _encoded(self, frames: Tensor) -> Tensor:
        if self._encode is None:
            self._encode = self._chosen(frames)
            self._used(self.name)
        return self._encode(frames)

    def _fitting(self, frames: Tensor) -> int:
        """Return how many of the frames a CPU's memory has room for: all where there is plenty, else a half of it."""
        visual = self._visual
        measured = isinstance(visual, Visual) and len(frames) > 1 and frames.device.type == "cpu"
        free = free_memory() if measured else None
        if free is None or free > len(frames) * _PLENTY:
            return len(frames)
        if isinstance(visual, LazyVisual) and visual.digest is not None:
            return 1  # Its network is not even built.
        self._bytes = self._bytes or _bytes_of(visual, frames[:1])
        return max(1, free // 2 // self._bytes)

    def _chosen(self, frames: UInt8[Tensor, "frames 3 height width"]) -> Encode:
        visual: nn.Module = self._visual
        wanted: EngineName = self._wanted
        if not isinstance(visual, Visual) or wanted == "eager":
            return visual
        if wanted == "bf16":
            self.name = wanted
            encode, line = _in_bf16(visual, frames)
            self._say(line)
            return encode
        if wanted == "compiled":
            self.name = wanted
            return _compiled(visual)
        if visual.mean.device.type != "cpu":
            if wanted == "onnxruntime":
                raise RunError(f"engine onnxruntime runs on the CPU, and the device is {visual.mean.device}: use auto")
            encode = _compiled_where_it_pays(visual, frames, self._frames, self._say)
            self.name = "eager" if encode is None else "compiled"
            return encode or visual
        session = _session_for(visual, frames, self._frames, wanted, self._say)
        if session is None:
            return visual
        self.name = "onnxruntime"
        return partial(_run, session)


@torch.inference_mode()
def _bytes_of(visual: nn.Module, frame: UInt8[Tensor, "1 3 height width"]) -> int:
    """Return about how many bytes the encoding of a frame takes, by what goes into and comes out of its layers.

    All in all a frame takes 1.6 times (EfficientNet-Lite0) to 2.5 times (ViT-L/14 at 336 pixels) as much as its largest
    layer; onnxruntime takes no more than torch (LOG.md).
    """
    largest = 0

    def measure(module: nn.Module, given: tuple[object, ...], made: object) -> None:
        nonlocal largest
        largest = max(largest, sum(each.nbytes for each in (*given, made) if isinstance(each, Tensor)))

    with register_module_forward_hook(measure):
        visual(frame)
    return 3 * largest


def _session_for(visual: Visual, frames: Tensor, expected: int, wanted: EngineName, say: Say) -> Any:
    """Return the onnxruntime session of an encoder; None where eager is chosen."""
    known = visual.digest if isinstance(visual, LazyVisual) else None
    if wanted == "auto" and known is None and expected < _enough(visual, *_LOOK):
        return None
    kept = Kept.of(known or weights_digest(visual), frames.shape[-1])
    choice = kept.choice()
    if choice is None and (wanted == "onnxruntime" or expected >= _enough(visual, *_MAKE)):
        choice = kept.make(visual, frames)
        if choice is not None:
            say(_told(choice))
    if wanted == "onnxruntime" and (choice is None or not choice["exact"]):
        why = "onnxruntime and onnx are not installed" if not _installed() else "onnxruntime cannot run it"
        raise RunError(f"engine onnxruntime: {why} ({visual.spec.source}): use auto or eager")
    if choice is None or (wanted == "auto" and choice["engine"] != "onnxruntime"):
        return None
    return kept.session(choice) or (kept.session(made) if (made := kept.make(visual, frames)) else None)


def _told(choice: dict[str, Any], other: str = "onnxruntime") -> str:
    """Return what a trial of another engine than torch has found, in a line."""
    title = "torch.compile" if other == "compiled" else other
    if not choice["exact"]:
        return f"engine: torch, since {title} does not give this encoder's features"
    speed, cosine = choice["seconds"]["eager"] / choice["seconds"][other], choice["gap"]
    return (
        f"engine: {choice['engine']} ({title} takes {speed:.1f} times as many frames a second as torch here, 1 - "
        f"cosine {cosine:.0e}; kept for this encoder and size)"
    )


def _enough(visual: Visual, frames: int, more: int) -> int:
    """Return how many frames pay for what takes longer the larger the encoder is: so many per million weights more."""
    return frames + more * sum(weight.numel() for weight in visual.parameters()) // 1_000_000


def _compiled_where_it_pays(visual: Visual, frames: Tensor, expected: int, say: Say) -> Encode | None:
    """Return the encoder through torch.compile, if it is faster by more than it takes to compile; None if not.

    A trial is kept: seconds of a frame in torch and compiled, and of compiling, which is done again in each process.
    """
    if (
        expected < _LOOK_COMPILED
        or expected * _seconds({"eager": visual}, frames)["eager"] / len(frames) < _TRY_COMPILED
    ):
        return None
    gpu = torch.cuda.get_device_name(frames.device) if frames.is_cuda else frames.device.type
    kept, compiled = Kept.of(weights_digest(visual), frames.shape[-1], gpu), torch.compile(visual, dynamic=True)
    choice = kept.choice()
    if choice is None:
        choice = kept.try_compiled(visual, compiled, frames)
        say(_told(choice, "compiled"))
        return compiled if choice["engine"] == "compiled" else None
    seconds = choice.get("seconds", {"eager": 0.0, "compiled": 0.0, "compiling": 0.0})
    return compiled if expected * (seconds["eager"] - seconds["compiled"]) > seconds["compiling"] else None


def weights_digest(visual: Visual) -> str:
    """Return a digest of an encoder's weights, wherever they come from."""
    return weights_key(visual, repr(replace(visual.spec, source="")))


# ---- what is kept


@dataclass(frozen=True)
class Kept:
    """The choice of an engine and its graph, as they are kept for an encoder at one size on this machine."""

    path: Path

    @classmethod
    def of(cls, weights: str, size: int, machine: str = "") -> "Kept":
        """Return what is kept for weights of this digest, square frames of `size` pixels, and this processor or GPU."""
        about = (_FORMAT, weights, size, machine or _processor(), *map(_version, ("torch", "onnxruntime")))
        return cls(cache_dir() / "engines" / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}.json")

    @property
    def graph(self) -> Path:
        """The graph beside the choice."""
        return self.path.with_suffix(".onnx")

    def choice(self) -> dict[str, Any] | None:
        """Return what was found; None where nothing is kept, or what is kept is damaged."""
        try:
            found = read_json(self.path)
        except RunError:
            return None
        kinds = {"engine": str, "exact": bool, "graph": str}
        return found if all(isinstance(found.get(key), kind) for key, kind in kinds.items()) else None

    def session(self, choice: dict[str, Any]) -> Any:
        """Return the onnxruntime session of the graph; None where it is not the file that was written."""
        try:
            data = self.graph.read_bytes()
            if hashlib.sha256(data).hexdigest() != choice["graph"]:
                return None
            self.graph.touch()  # It was used: others go first.
            return _opened(data)
        except OSError:
            return None

    def make(self, visual: Visual, frames: UInt8[Tensor, "frames 3 size size"]) -> dict[str, Any] | None:
        """Export the encoder, try both engines on the frames, keep and return what was found.

        None where the packages are missing or the folder cannot be written.
        """
        if not _installed():
            return None
        data = _exported(visual, frames.shape[-1])
        session = None if data is None else _opened(data)
        found: dict[str, Any] = {"engine": "eager", "exact": False, "graph": ""}
        if data is not None and session is not None:
            encode = partial(_run, session)
            found["gap"] = _gap(visual, encode, frames)
            found["exact"] = found["gap"] <= EXACT
            found["seconds"] = _seconds({"eager": visual, "onnxruntime": encode}, frames)
            if found["exact"]:
                found["engine"] = min(found["seconds"].items(), key=lambda item: item[1])[0]
                found["graph"] = hashlib.sha256(data).hexdigest()
        try:
            if found["exact"] and data is not None:
                with replacing(self.graph, sync=False) as beside:
                    beside.write_bytes(data)
            write_json(self.path, found)
            _drop_oldest(self.path.parent)
        except RunError:
            return None
        return found

    def try_compiled(self, visual: Visual, compiled: Encode, frames: Tensor) -> dict[str, Any]:
        """Try the compiled encoder beside torch on the frames, keep and return what was found."""
        found: dict[str, Any] = {"engine": "eager", "exact": False, "graph": ""}
        began = time.perf_counter()
        try:
            found["gap"] = _gap(visual, compiled, frames)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # Compilers raise every kind, where none is installed among others.
            found["gap"] = 1.0
        found["exact"] = found["gap"] <= EXACT
        if found["exact"]:
            compiling = time.perf_counter() - began
            seconds = _seconds({"eager": visual, "compiled": compiled}, frames)
            found["seconds"] = {name: value / len(frames) for name, value in seconds.items()}
            found["engine"] = min(seconds.items(), key=lambda item: item[1])[0]
            found["seconds"]["compiling"] = compiling
        with suppress(RunError):
            write_json(self.path, found)
        return found


def note_digest(files: Sequence[Path], digest: str) -> None:
    """Note the digest of the weights in some files, for `known_digest`, while these files stay as they are."""
    with suppress(RunError, OSError):
        write_json(_note(files), {"files": _stamps(files), "weights": digest})


def known_digest(files: Sequence[Path]) -> str | None:
    """Return the digest that was noted of the weights in some files; None if they have changed since, or none was."""
    try:
        found = read_json(_note(files))
        return str(found["weights"]) if found.get("files") == _stamps(files) and "weights" in found else None
    except (RunError, OSError):
        return None


def _note(files: Sequence[Path]) -> Path:
    name = hashlib.sha256(repr([str(resolved(path)) for path in files]).encode()).hexdigest()[:32]
    return cache_dir() / "engines" / "weights" / f"{name}.json"


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    """Return the size and times of each file: the time of change cannot be set back."""
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in map(Path.stat, files)]


def _drop_oldest(folder: Path) -> None:
    """Remove the graphs that were not used for longest where all take too much."""
    with suppress(OSError):
        graphs = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for place, graph in enumerate(graphs):
            total += graph.stat().st_size
            if place and total > _MOST_KEPT:
                graph.unlink(missing_ok=True)


def _processor() -> str:
    """Return what a choice depends on of this machine: the kind of processor and what it can do."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        wanted = ("vendor_id", "model name", "flags", "Features", "CPU part")
        return repr(dict(line.split(":", 1) for line in lines if line.startswith(wanted)))
    return f"{platform.machine()} {platform.processor()}"


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return ""


def _installed() -> bool:
    """Return whether graphs can be made and run."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


# ---- onnxruntime


def _opened(data: bytes) -> Any:
    """Return a session of a graph; None where it is damaged or reaches for other files."""
    if ONNX_OUTSIDE in data:
        return None
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Waiting threads would take the processor from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime raises a kind of its own for each code; ImportError where it is missing.
        return None


def _run(session: Any, frames: UInt8[Tensor, "frames 3 size size"]) -> Float[Tensor, "frames dim"]:
    return torch.from_numpy(session.run(None, {"frames": frames.contiguous().numpy()})[0])


def _exported(visual: Visual, size: int) -> bytes | None:
    """Return the graph of an encoder with its normalisation, for any number of frames; None if it has none.

    torch's older exporter takes half a second for `mini`, the newer one ten (LOG.md).
    """
    was_training, written = visual.training, io.BytesIO()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operation.
        with torch.no_grad(), quiet(), _nothing_printed(), _padded_in_one_step(visual.eval()):
            torch.onnx.export(
                visual,
                (torch.zeros(2, 3, size, size, dtype=torch.uint8),),
                written,  # pyright: ignore[reportArgumentType]
                input_names=["frames"],
                output_names=["features"],
                dynamic_axes={"frames": {0: "frames"}, "features": {0: "frames"}},
                opset_version=17,
                dynamo=False,
            )
    except Exception:  # torch.onnx raises nearly every kind, for operations that ONNX does not have among others.
        return None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        visual.train(was_training)
    return written.getvalue()


class _UnevenConv(torch.autograd.Function):
    """A convolution whose padding differs between sides: two steps in torch, one in ONNX."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv2d, pads: list[int]) -> Tensor:
        """Return the convolution of the padded input; `pads` are left, right, top and bottom."""
        return F.conv2d(F.pad(x, pads), weight, bias, conv.stride, 0, conv.dilation, conv.groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, conv: nn.Conv2d, pads: list[int]) -> Any:
        """Return the operation in the graph."""
        left, right, top, bottom = pads
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return g.op(
            "Conv",
            *inputs,
            kernel_shape_i=list(conv.kernel_size),
            strides_i=list(conv.stride),
            dilations_i=list(conv.dilation),
            group_i=conv.groups,
            pads_i=[top, left, bottom, right],
        )


def _uneven(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return a convolution padded as TensorFlow pads it: as many steps as the stride fits into the side."""
    pads: list[int] = []
    for side, kernel, stride, dilation in zip(x.shape[-2:], conv.kernel_size, conv.stride, conv.dilation, strict=True):
        whole = max(0, (-(-int(side) // stride) - 1) * stride + (kernel - 1) * dilation + 1 - int(side))
        pads = [whole // 2, whole - whole // 2, *pads]
    return _UnevenConv.apply(x, conv.weight, conv.bias, conv, pads)


@contextmanager
def _padded_in_one_step(visual: Visual) -> Iterator[None]:
    """Let timm's convolutions that pad to the same size be one operation of the graph.

    Apart, the padding makes onnxruntime change the order of the values before and after: 4 of 15 ms a frame of `mini`.
    """
    same = [m for m in visual.modules() if isinstance(m, nn.Conv2d) and type(m).__name__ == "Conv2dSame"]
    for module in same:
        module.forward = partial(_uneven, module)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for module in same:
            del module.forward


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what exporters print and log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Drop what is written to standard output past Python: torch's exporter writes graphs that it cannot export."""
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


# ---- the trial


@torch.inference_mode()
def _gap(eager: Encode, other: Encode, frames: UInt8[Tensor, "frames 3 size size"]) -> float:
    """Return the largest 1 - cosine between two engines' features, of the frames together and of one alone."""
    return max(1 - float(_cosines(eager(part), other(part)).min()) for part in (frames, frames[:1]))


def _cosines(a: Float[Tensor, "frames dim"], b: Float[Tensor, "frames dim"]) -> Float[Tensor, " frames"]:
    return F.cosine_similarity(a.double(), b.double(), dim=-1)


@torch.inference_mode()
def _seconds(engines: dict[str, Encode], frames: UInt8[Tensor, "frames 3 size size"]) -> dict[str, float]:
    """Return the least time that each engine takes for the frames, of three interleaved rounds, or fewer slow ones."""
    least, began = dict.fromkeys(engines, float("inf")), time.perf_counter()
    for _ in range(3):
        for name, encode in engines.items():
            started = time.perf_counter()
            encode(frames).cpu()  # A GPU is waited for.
            least[name] = min(least[name], time.perf_counter() - started)
        if time.perf_counter() - began > _TRIAL_SECONDS:
            break
    return least


# ---- the engines that are only used where they are asked for


def _compiled(visual: Visual) -> Encode:
    """Return the encoder through torch.compile.

    Raises:
        RunError: on a CPU, where it takes a minute and gains nothing.
    """
    if visual.mean.device.type == "cpu":
        raise RunError("engine compiled is for a GPU, and the device is cpu: use auto")
    return torch.compile(visual, dynamic=True)


@torch.inference_mode()
def _in_bf16(visual: Visual, frames: UInt8[Tensor, "frames 3 height width"]) -> tuple[Encode, str]:
    """Return (a copy of the encoder in bfloat16 behind the same normalisation, a line on its cosines).

    Raises:
        RunError: its features are too far from the encoder's own.
    """
    net = copy.deepcopy(visual.net).to(torch.bfloat16).eval()

    def encode(frames: Tensor) -> Tensor:
        return net(visual.normalised(frames).to(torch.bfloat16)).float()

    cosines = _cosines(visual(frames), encode(frames))
    if not cosines.mean() >= LEAST_COSINE:
        raise RunError(
            f"engine bf16: the mean cosine with exact features is {float(cosines.mean()):.4f}, below {LEAST_COSINE} "
            f"({visual.spec.source}): use auto"
        )
    of = f"mean {float(cosines.mean()):.4f}, lowest {float(cosines.min()):.4f} of the first {len(frames)} frames"
    return encode, f"engine bf16: cosine with exact features {of}"
