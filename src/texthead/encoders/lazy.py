"""Encoders whose networks are loaded on first use, and the digests that stand for their weights until then."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
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

from texthead.encoders.encoder import BUILT_IN, Encoder, TextEncoder, VisualEncoder
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError
from texthead.files import cache_dir, read_json, replacing, write_json
from texthead.media.paths import MediaPath

# Of the keys of a run's weights, those of its encoder.
_PREFIX = "visual."

# Most parameters of an encoder whose graph is exported in about a second; its state is kept too.
SMALL = 16_000_000


class LazyVisualEncoder(VisualEncoder):
    """A visual encoder whose network is built on first use.

    Until then changes of device, precision and mode are those of the object, which has buffers, and applied later.

    Args:
        spec: spec of the network.
        build: returns the network with its weights.
        digest: digest of the weights, as from `weights_digest`.
        weights: safetensors file with the state under the prefix `visual.`, so that it can be saved without the
            network.

    Attributes:
        digest: None once the network is built, since its weights may then change.
    """

    digest: str | None

    def __init__(self, spec: VisualSpec, build: Callable[[], nn.Module], digest: str, weights: Path):
        super().__init__(nn.Identity(), spec)
        self.__dict__["_modules"].clear()
        self.digest = digest
        self._build: Callable[[], nn.Module] | None = build
        self._weights = weights

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

    def __getstate__(self) -> dict[str, Any]:
        self._ensure_built()  # A copy has a network of its own.
        return self.__dict__

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the state, from the file if the network is not built and the file is there."""
        destination, prefix = options.get("destination", {}), options.get("prefix", "")
        if self._build is not None and self.mean.type() == "torch.FloatTensor":
            with suppress(OSError, SafetensorError):
                saved = load_file(self._weights)
                own = {key.removeprefix(_PREFIX): saved[key] for key in saved if key.startswith(_PREFIX)}
                if _state_key(own, _spec_text(self.spec)) == self.digest:  # The file may have changed.
                    destination.update({prefix + key: own[key] for key in own})
                    return destination
        return super().state_dict(*args, **options)

    def _ensure_built(self) -> None:
        """Build the network if it is not built yet."""
        build = self.__dict__.get("_build")
        if build is None:
            return
        self._build = self.digest = None
        with torch.inference_mode(False):  # Weights made in inference mode could not be trained.
            self.__dict__["_modules"]["net"] = build().train(self.training).to(self.mean.device, self.mean.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LazyVisualEncoder":
        return super()._apply(fn, recurse and self._build is None)  # pyright: ignore[reportReturnType]

    def train(self, mode: bool = True) -> "LazyVisualEncoder":
        """Set training or evaluation mode, without building the network."""
        if self._build is None:
            return super().train(mode)
        self.training = mode
        return self


class LazyEncoder(Encoder):
    """An encoder that is loaded when a frame or a text is encoded for the first time.

    Embeddings of texts are kept in the user's cache folder.

    Args:
        load: returns the encoder.
        about: what `store_metadata` stored about it.
        key: what changes with any of its files.
        load_text: returns its text encoder alone; None if it comes with the encoder.
        options: further options of `Encoder`.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        about: Mapping[str, Any],
        key: str,
        load_text: Callable[[], TextEncoder] | None = None,
        **options: Any,
    ):
        self._loaded, self._key = cache(torch.inference_mode(False)(load)), key
        digest, center = about["weights"], about["center"]
        spec, center = VisualSpec.from_json(about["spec"]), None if center is None else torch.tensor(center)
        visual = LazyVisualEncoder(spec, lambda: self._loaded().visual.net, digest, _state_file(digest))
        load_text = (load_text or (lambda: self._loaded().text)) if about["text"] else None
        super().__init__(visual, load_text, center=center, **about["logits"], **options)

    def _embeddings(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return the embeddings of prompts, without loading the encoder if they are kept."""
        name = hashlib.sha256(repr((self._key, prompts)).encode()).hexdigest()[:32]
        file = cache_dir() / "texts" / f"{name}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):
            return load_file(file)["rows"].clone()  # Not a map of the file, which may change.
        rows = super()._embeddings(prompts)
        with suppress(RunError), replacing(file, sync=False) as temporary:
            save_file({"rows": rows.contiguous()}, temporary)
        return rows


def weights_key(model: nn.Module, about: str) -> str:
    """Return a digest of a model's weights and of the description `about`."""
    return _state_key(model.state_dict(), about)


def _state_key(state: Mapping[str, Tensor], about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def weights_digest(visual: VisualEncoder) -> str:
    """Return a digest of an encoder's weights, independent of their source; a lazy encoder is not built."""
    # A lazy encoder's digest is of its weights in single precision, which it may no longer have.
    known = visual.digest if isinstance(visual, LazyVisualEncoder) and visual.mean.dtype == torch.float32 else None
    return known or weights_key(visual, _spec_text(visual.spec))


def _spec_text(spec: VisualSpec) -> str:
    """Return what of a spec tells the network: of our own architectures all but the source."""
    ours = spec.architecture.partition(":")[0] in BUILT_IN  # The code of a package may read the source.
    return repr(replace(spec, source="") if ours else spec)


def store_digest(files: Sequence[Path], digest: str, source: str = "", **about: object) -> None:
    """Store the digest of the weights in these files, and what else is known, for `stored_metadata`."""
    with suppress(RunError, OSError):
        write_json(_digest_file(files, source), {"files": _stamps(files), "weights": digest, **about})


def store_metadata(files: Sequence[Path], encoder: Encoder) -> None:
    """Store what a `LazyEncoder` needs of an encoder with these files; for a small one also the weights' state."""
    visual, center = encoder.visual, encoder.center
    digest, state = weights_digest(visual), visual.state_dict(prefix=_PREFIX)
    with suppress(RunError):
        if sum(tensor.numel() for tensor in state.values()) <= SMALL:
            with replacing(_state_file(digest), sync=False) as temporary:
                save_file({key: tensor.contiguous() for key, tensor in state.items()}, temporary)
    about = {"spec": visual.spec.to_json(), "logits": {"scale": encoder.scale, "bias": encoder.bias}}
    center = None if center is None else center.tolist()
    store_digest(files, digest, encoder.source, **about, center=center, text=encoder.has_text)


def stored_metadata(files: Sequence[Path], source: str = "") -> dict[str, Any]:
    """Return what was stored about these files; empty if nothing was, or a file has changed."""
    with suppress(RunError, OSError):
        stored = read_json(_digest_file(files, source))
        return stored if stored.get("files") == _stamps(files) else {}
    return {}


def _state_file(digest: str) -> Path:
    return cache_dir() / "engines" / f"{digest}.safetensors"


def _digest_file(files: Sequence[Path], source: str) -> Path:
    # The digest is also of the spec, to which another version may add fields.
    about = f"{[str(MediaPath(path).resolved()) for path in files]}{source}{[*VisualSpec.__dataclass_fields__]}"
    name = hashlib.sha256(about.encode()).hexdigest()[:32]
    return cache_dir() / "engines" / "weights" / f"{name}.json"


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    """Return size, modification time, change time (which cannot be set back) and inode of each file."""
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in map(Path.stat, files)]
