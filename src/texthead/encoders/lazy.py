"""Encoders whose networks are loaded on first use, and the digests that stand for their weights until then."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder, Visual
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError
from texthead.files import cache_dir, read_json, replacing, write_json
from texthead.media.paths import MediaPath


class LazyVisual(Visual):
    """A visual encoder whose network is built on first use.

    Until then changes of device and mode are recorded and applied later.

    Args:
        spec: spec of the network.
        build: returns the network with its weights.
        digest: digest of the weights, as from `weights_digest`.

    Attributes:
        digest: None once the network is built, since its weights may then change.
    """

    digest: str | None

    def __init__(self, spec: VisualSpec, build: Callable[[], nn.Module], digest: str):
        super().__init__(nn.Identity(), spec)
        self.__dict__["_modules"].clear()
        self.digest = digest
        self._build: Callable[[], nn.Module] | None = build
        self._moves: list[Callable[[Tensor], Tensor]] = []

    # nn.Module accesses all submodules through this dictionary.
    @property
    def _modules(self) -> dict[str, nn.Module | None]:
        self._ensure_built()
        return self.__dict__["_modules"]

    @_modules.setter
    def _modules(self, modules: dict[str, nn.Module | None]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.__dict__["_modules"] = modules

    def __getattr__(self, name: str) -> Any:
        if name == "net":
            self._ensure_built()
        return super().__getattr__(name)

    def _ensure_built(self) -> None:
        """Build the network if it is not built yet."""
        build = self.__dict__.get("_build")
        if build is None:
            return
        self._build = self.digest = None
        net = build().train(self.training)
        for move in self._moves:
            net._apply(move)
        self.__dict__["_modules"]["net"] = net

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LazyVisual":
        if self._build is not None:
            self._moves.append(fn)
            recurse = False
        return super()._apply(fn, recurse)  # pyright: ignore[reportReturnType]

    def train(self, mode: bool = True) -> "LazyVisual":
        """Set training or evaluation mode, without building the network."""
        if self._build is None:
            return super().train(mode)
        self.training = mode
        return self


class LazyEncoder(Encoder):
    """An encoder that is loaded when a frame or a text is encoded, or another attribute than its spec is used.

    Args:
        spec: spec of the visual encoder.
        load: returns the encoder.
        digest: digest of its weights.
        key: what changes with any of its files. Embeddings of texts are kept in the user's cache folder under it.
    """

    def __init__(self, spec: VisualSpec, load: Callable[[], Encoder], digest: str, key: str):
        self.visual = LazyVisual(spec, lambda: self._loaded().visual.net, digest)
        self.dim, self.source, self._loaded, self._key = spec.dim, spec.source, cache(load), key
        self.text_source = self.text_map = None

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return one embedding per prompt, not normalised; see `Encoder`."""
        return self._kept("encode_text", prompts)

    def known(self, prompts: Sequence[str]) -> Float[Tensor, " prompts"]:
        """Return how well the text encoder knows each prompt, from 0 to 1; see `Encoder`."""
        return self._kept("known", prompts)

    def _kept(self, method: str, prompts: Sequence[str]) -> Tensor:
        """Return the result of a method, without loading the encoder if it is kept."""
        name = hashlib.sha256(repr((self._key, method, [*prompts])).encode()).hexdigest()[:32]
        file = cache_dir() / "texts" / f"{name}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):
            return load_file(file)["rows"]
        rows = getattr(self._loaded(), method)(prompts)
        with suppress(RunError), replacing(file, sync=False) as temporary:
            save_file({"rows": rows.detach().contiguous()}, temporary)
        return rows

    def __getattr__(self, name: str) -> Any:
        if "_loaded" not in self.__dict__:  # As while it is copied.
            raise AttributeError(name)
        return getattr(self._loaded(), name)


def weights_key(model: nn.Module, about: str) -> str:
    """Return a digest of a model's weights and of the description `about`."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def weights_digest(visual: Visual) -> str:
    """Return a digest of an encoder's weights, independent of their source; a lazy encoder is not built."""
    known = visual.digest if isinstance(visual, LazyVisual) else None
    return known or weights_key(visual, repr(replace(visual.spec, source="")))


def note_digest(files: Sequence[Path], digest: str, source: str = "") -> None:
    """Store the digest of the weights in these files for `known_digest`; it is valid until a file changes.

    Args:
        source: the source of the encoder, if the files do not tell it.
    """
    with suppress(RunError, OSError):
        write_json(_digest_file(files, source), {"files": _stamps(files), "weights": digest})


def known_digest(files: Sequence[Path], source: str = "") -> str | None:
    """Return the stored digest of the weights in these files; None if there is none or a file has changed."""
    try:
        stored = read_json(_digest_file(files, source))
        return str(stored["weights"]) if stored.get("files") == _stamps(files) and "weights" in stored else None
    except (RunError, OSError):
        return None


def _digest_file(files: Sequence[Path], source: str) -> Path:
    name = hashlib.sha256(f"{[str(MediaPath(path).resolved()) for path in files]}{source}".encode()).hexdigest()[:32]
    return cache_dir() / "engines" / "weights" / f"{name}.json"


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    """Return size, modification time, change time (which cannot be set back) and inode of each file."""
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in map(Path.stat, files)]
