"""Engines: ways to run a frozen encoder.

eager        the encoder in plain torch
onnxruntime  an exported graph of the encoder in onnxruntime, on the CPU; `onnxruntime:cuda` runs it on a GPU

`auto` chooses onnxruntime on a CPU if there is a graph, or enough frames to pay for one, and the graph reproduces the
encoder's features, else eager. The graph is stored in the folder `engines` of `cache_dir()`.
"""

import hashlib
import io
import logging
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from texthead.encoders.encoder import VisualEncoder
from texthead.encoders.lazy import weights_digest
from texthead.encoders.load import keeps_graph
from texthead.errors import RunError
from texthead.extras import version
from texthead.files import cache_dir, replacing
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName

# Largest 1 - cosine of features that count as equal.
EXACT = 1e-6

# The packages whose code computes features in plain torch.
NETWORKS = ("torch", "timm", "open_clip_torch", "transformers")

# Total size of stored graphs in bytes; the least recently used are removed first.
_MAX_BYTES_KEPT = 2**30

_FORMAT = 3

# Bytes of the digest before a stored graph.
DIGEST_BYTES = 32

# Engine -> onnxruntime's execution provider, its options for float32, and the package that has it.
PROVIDERS: Mapping[EngineName, tuple[str, dict[str, str], str]] = {
    "onnxruntime": ("CPUExecutionProvider", {}, "onnxruntime"),
    "onnxruntime:cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}, "onnxruntime-gpu"),
}

Encode = Callable[[Any], Float[Tensor, "units *tokens dim"]]


class Engine:
    """Computes features of frames with one engine, chosen when the first frames arrive.

    Args:
        visual: the frozen encoder. Other modules and functions than `VisualEncoder` run in plain torch.
        wanted: "auto", or the engine to use.
        frames: estimate of the total number of frames; `auto` exports a graph only for many.
        reporter: gets the engine's name when it is chosen, and messages: a new graph, too little GPU memory.

    Attributes:
        name: the engine in use; "eager" before the first frames.
    """

    def __init__(
        self,
        visual: nn.Module | Encode,
        wanted: EngineName = "auto",
        frames: int = 0,
        reporter: Reporter = Reporter(),
    ):
        self.name: EngineName = "eager"
        self._reporter = reporter
        self._visual, self._frames = visual, frames
        self._most = 0  # Units at once, once the GPU has run out of memory.
        self._wanted: EngineName = wanted
        self._encode: Encode | None = None

    def __call__(self, frames: UInt8[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """Return the features of frames or clips on the encoder's device, some at a time.

        Raises:
            RunError: the wanted engine cannot run this encoder here, or not enough GPU memory for a single frame.
        """
        most = self._most or max(1, frames_at_once(frames.device) // frames.shape[1:-3].numel())
        try:
            features = [self._run(chunk) for chunk in frames.split(most)]
            return features[0] if len(features) == 1 else torch.cat(features)
        except torch.OutOfMemoryError:
            pass  # Handled below, after the exception has released its tensors.
        count = min(len(frames), most)
        if count == 1:
            raise RunError("not enough GPU memory for one frame; use `device=cpu`, or a smaller encoder")
        self._most = count // 2
        self._reporter.note(
            f"not enough GPU memory for {count} frames at once; encoding {self._most} at a time from now on"
        )
        return self(frames)

    def _run(self, frames: Tensor) -> Tensor:
        if self._encode is None:
            self._encode = self._choose(frames)
            self._reporter.used(self.name)
        return self._encode(frames)

    def _choose(self, frames: Tensor) -> Encode:
        visual, automatic = self._visual, self._wanted == "auto"
        if not isinstance(visual, VisualEncoder) or self._wanted == "eager":
            return visual
        engine: EngineName = "onnxruntime" if automatic else self._wanted
        on_cpu, kept, size = visual.device.type == "cpu", keeps_graph(visual.spec.source), frames.shape[-1]
        if automatic and not (on_cpu and kept):
            return visual
        path = graph_path(weights_digest(visual), size, engine)
        data = stored_graph(path) if kept else None
        session, gap = _open_session(data, engine) if data else None, math.inf
        if session is not None:
            with suppress(OSError):
                path.touch()  # Mark as recently used.
        elif data != b"" and _installed() and not (automatic and self._frames < _enough(visual)):
            session, gap = make_graph(path, visual, frames, engine)
            if session is not None:
                self._reporter.note(f"engine: {engine} (1 - cosine {gap:.0e}; graph stored for this encoder and size)")
            elif automatic:
                self._reporter.note(f"engine: torch, since {engine} does not reproduce this encoder's features")
        if session is not None:
            self.name = engine
            return partial(_run_session, session)
        if automatic:
            return visual
        exactly = f" exactly: 1 - cosine is {gap:.0e}, above {EXACT:.0e}" if gap < math.inf else ""
        provider, _, package = PROVIDERS[engine]
        raise RunError(
            f"`engine={engine}`: onnxruntime cannot run {visual.spec.source}{exactly}; it needs the packages onnx and "
            f"{package}, for {provider}; install them, or use `engine=auto` or `engine=eager`"
        )


def _enough(visual: VisualEncoder) -> int:
    """Return the number of frames from which on a graph is worth its export; it builds the network."""
    return 256 + 4 * sum(weight.numel() for weight in visual.parameters()) // 1_000_000


def frames_at_once(device: torch.device) -> int:
    """Return the number of frames to encode at once without gradients.

    On a CPU it is small, since larger activations do not fit its caches and are newly allocated each time.
    (EfficientNet-Lite0 at 224 pixels: 47 frames per CPU-second in batches of 8, 29 in batches of 64; ViT-B/32: equal.)
    """
    return 8 if device.type == "cpu" else 64


# ---- stored graphs


def graph_path(weights: str, size: int, engine: EngineName = "onnxruntime") -> Path:
    """Return the file of the graph of weights with this digest, for square frames of `size` pixels and an engine.

    Each processor has its own: the comparison of features holds for the one that made it.
    """
    provider = PROVIDERS[engine]
    versions = map(version, (*NETWORKS, "onnxruntime", provider[2]))
    about = (_FORMAT, weights, size, _processor(), provider, *versions)
    return cache_dir() / "engines" / f"{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}.graph"


def _processor() -> str:
    """Return the model and the features of the processor."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        fields = ("vendor_id", "model name", "flags", "Features", "CPU part")
        return repr(dict(line.split(":", 1) for line in lines if line.startswith(fields)))
    return f"{platform.machine()} {platform.processor()}"


def stored_graph(path: Path) -> bytes | None:
    """Return the graph in a file of `graph_path`; None if there is none, or the file is damaged.

    The graph is empty if the engine does not give the encoder's features.
    """
    with suppress(OSError):
        data = path.read_bytes()
        digest, graph = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        return graph if hashlib.sha256(graph).digest() == digest else None
    return None


def make_graph(
    path: Path,
    visual: VisualEncoder,
    frames: UInt8[Tensor, "frames 3 size size"],
    engine: EngineName = "onnxruntime",
) -> tuple[Any, float]:
    """Export the encoder, compare its features with the graph's, and store the graph if they are equal.

    Returns:
        The session of the graph, or None if the features are not equal; and 1 - cosine.
    """
    data, gap = _export(visual, frames.shape[-1]), math.inf
    session = None if data is None else _open_session(data, engine)
    if session is not None:
        gap = _gap(visual, partial(_run_session, session), frames)
    exact = gap <= EXACT
    if exact or engine == "onnxruntime":  # The libraries of another provider may be installed later.
        with suppress(RunError), replacing(path, sync=False) as temporary:
            graph = data if data and exact else b""
            temporary.write_bytes(hashlib.sha256(graph).digest() + graph)
        _drop_oldest(path.parent)
    return (session if exact else None), gap


def _drop_oldest(folder: Path) -> None:
    """Remove the least recently used graphs and states of encoders if all together are too large."""
    with suppress(OSError):
        kept = [path for path in folder.iterdir() if path.suffix in (".graph", ".safetensors")]
        total = 0
        for rank, path in enumerate(sorted(kept, key=lambda path: path.stat().st_mtime, reverse=True)):
            total += path.stat().st_size
            if rank and total > _MAX_BYTES_KEPT:
                path.unlink(missing_ok=True)


def _installed() -> bool:
    """Return whether graphs can be exported and run: a package that is installed may fail to load."""
    with suppress(ImportError):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401

        return True
    return False


# ---- onnxruntime


def _open_session(data: bytes, engine: EngineName = "onnxruntime") -> Any:
    """Return a session of a graph; None if it is damaged, or the provider does not start."""
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Spinning threads would take CPU time from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        name, settings, _ = PROVIDERS[engine]
        session = onnxruntime.InferenceSession(data, options, providers=[(name, settings)])
        # If a provider does not start, for want of its libraries, onnxruntime takes the CPU's.
        return session if session.get_providers()[0] == name else None
    except Exception:  # onnxruntime raises its own type for each error code; ImportError if it is missing.
        return None


def _run_session(session: Any, frames: UInt8[Tensor, "frames 3 size size"]) -> Float[Tensor, "frames dim"]:
    features = session.run(None, {"frames": frames.cpu().contiguous().numpy()})[0]
    return torch.from_numpy(features).to(frames.device)


def _export(visual: VisualEncoder, size: int) -> bytes | None:
    """Return the graph of an encoder with its normalisation, for any number of frames; None if it cannot be exported.

    torch's older exporter takes half a second for `mini`, the newer one ten seconds.
    """
    was_training, written = visual.training, io.BytesIO()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operation.
        with torch.no_grad(), quiet(), _padded_in_one_step(visual.eval()):
            torch.onnx.export(
                visual,
                (torch.zeros(2, 3, size, size, dtype=torch.uint8, device=visual.device),),
                written,  # pyright: ignore[reportArgumentType]
                input_names=["frames"],
                output_names=["features"],
                dynamic_axes={"frames": {0: "frames"}, "features": {0: "frames"}},
                opset_version=17,
                dynamo=False,
            )
    except Exception:  # torch.onnx raises many types, for example for operations that ONNX does not have.
        return None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        visual.train(was_training)
    return written.getvalue()


class _SameConv(torch.autograd.Function):
    """A convolution with TensorFlow's "same" padding as one ONNX operation; in torch it gives the shape alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv2d, shape: list[int]) -> Tensor:
        """Return zeros: an export records no values."""
        return x.new_zeros(shape)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, conv: nn.Conv2d, shape: list[int]) -> Any:
        """Return the ONNX operation."""
        inputs = [x, weight] if bias is None else [x, weight, bias]
        sizes = {"kernel_shape_i": conv.kernel_size, "strides_i": conv.stride, "dilations_i": conv.dilation}
        return g.op("Conv", *inputs, **sizes, group_i=conv.groups, auto_pad_s="SAME_UPPER")


def _same_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    sides = [-(-int(side) // stride) for side, stride in zip(x.shape[2:], conv.stride, strict=True)]
    return _SameConv.apply(x, conv.weight, conv.bias, conv, [len(x), conv.out_channels, *sides])


@contextmanager
def _padded_in_one_step(visual: VisualEncoder) -> Iterator[None]:
    """Export each of timm's convolutions with "same" padding as a single operation.

    With separate padding, onnxruntime reorders the values before and after it: 4 of 15 ms per frame of `mini`.
    """
    same = [m for m in visual.modules() if isinstance(m, nn.Conv2d) and type(m).__name__ == "Conv2dSame"]
    for module in same:
        module.forward = partial(_same_conv, module)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for module in same:
            del module.forward


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the prints, warnings and logs of exporters, also what torch's prints from native code when it fails."""
    disabled = logging.root.manager.disable
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


# ---- equal features


@torch.inference_mode()
def _gap(eager: Encode, other: Encode, frames: UInt8[Tensor, "frames 3 size size"]) -> float:
    """Return the largest 1 - cosine between two engines' features, for all frames in a batch and for one alone."""
    pairs = ((eager(each).double(), other(each).double()) for each in (frames, frames[:1]))
    return max(1 - float(F.cosine_similarity(*pair, dim=-1).min()) for pair in pairs)
