"""Tensors out of other people's files: safetensors, torch checkpoints, TorchScript archives. No code in a file runs."""

import math
import pickle
import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from texthead.errors import EncoderError
from texthead.files import MOST_BYTES_OF_LISTS, read_value

# What published training programs put their weights under, and in front of each name.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

_PREFIX = "module."

# Bytes that a zip may save by packing: programs are packed, tensors are not.
_MOST_SAVED = 64 * 2**20

# What a network may have that is not in its file: parts that are built and thrown away, tables.
_MOST_BESIDE, _MOST_TENSORS_BESIDE = 10_000_000, 1000

# Files that libraries read as a whole.
_TEXTS = (".jinja", ".json", ".model", ".txt")

# Numbers in a config that libraries make lists of.
_COUNTS, _MOST_COUNTED = re.compile(r"^num_|layer|depth|stages"), 100_000

# What archives of programs hold beside weights.
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU, without a wrapper's key and without `module.` in front.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or asks to run code.
    """
    found: Any = read_checkpoint(path)
    for key in _WRAPPERS:
        if isinstance(found.get(key), dict):
            found = found[key]
    tensors = named_tensors(found)
    if not tensors:
        raise EncoderError(f"{path}: holds no tensor")
    return tensors


def named_tensors(found: dict) -> dict[str, Tensor]:
    """The tensors among the values by name, without the `module.` in front that several processes leave there."""
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if all(key.startswith(_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PREFIX): value for key, value in tensors.items()}
    return tensors


def read_checkpoint(path: Path) -> dict:
    """What a weights file holds, on the CPU.

    `.safetensors`; anything that `torch.load` reads with `weights_only=True`, and settings of yacs as plain values;
    TorchScript archives (OpenAI's CLIP files), whose tensors are read and whose program is not.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or asks to run code.
    """
    if not path.is_file():
        raise EncoderError(
            f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file; check the path'}"
        )
    try:
        _check_unpacked(path)
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        elif is_torchscript(path):
            found = _read_torchscript(path)
        else:
            # The settings in ViFi-CLIP's files; their class is not needed to read them.
            plain: list[Any] = [(OrderedDict, "yacs.config.CfgNode")]
            with torch.serialization.safe_globals(plain), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # What is said of a file is one line, below.
                found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # On damaged files the readers raise nearly every kind there is.
        # torch's own messages go over many lines and advise to load without safety.
        kind = type(error).__name__
        raise EncoderError(
            f"{path}: no weights can be read ({kind}); give safetensors, a torch checkpoint of tensors or TorchScript"
        ) from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: holds a {type(found).__name__}, expected tensors by name")
    _check_whole(path, found)
    return found


def _check_whole(path: Path, found: dict, depth: int = 3) -> None:
    """Nothing, unless a tensor claims more values than the file has of it, as a stride of 0 lets it."""
    for key, value in found.items():
        if isinstance(value, dict) and depth:
            _check_whole(path, value, depth - 1)
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.is_meta or value.nbytes > value.untyped_storage().nbytes():
            raise EncoderError(
                f"{path}: {key!r} claims {tuple(value.shape)} values, of which the file holds only some: give a "
                "checkpoint of whole tensors"
            )


def _check_unpacked(path: Path) -> None:
    """Nothing, unless the file is a zip that would unpack to much more than it is: tensors are stored as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > path.stat().st_size + _MOST_SAVED:
        raise ValueError(f"claims {claimed} bytes")


def fill(net: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put the tensors into a network of exactly their names and shapes; it takes them over, mostly without a copy.

    Raises:
        EncoderError: a name or shape that differs, or whole numbers in place of others.
    """
    needed, given = ({k: tuple(v.shape) for k, v in each.items()} for each in (net.state_dict(), tensors))
    for key in sorted(needed.keys() | given.keys()):
        if needed.get(key) != given.get(key):
            raise EncoderError(
                f"{source!r}: {key!r} has shape {given.get(key, 'none')} in the weights, the architecture needs "
                f"{needed.get(key, 'none')}: they do not belong together"
            )
    for key, value in net.state_dict().items():
        if value.is_floating_point() and not tensors[key].is_floating_point():
            raise EncoderError(
                f"{source!r}: {key!r} is of type {tensors[key].dtype} in the weights, the architecture needs "
                f"{value.dtype}: they do not belong together"
            )
    # What lies at odd places of a mapped file is copied: kernels can round differently on it.
    aligned = {key: value.clone() if value.data_ptr() % 64 else value for key, value in tensors.items()}
    net.load_state_dict(aligned, assign=True)


def check_folder(folder: Path) -> None:
    """Raise EncoderError if a file of an encoder's folder is none, too large, or describes a network without bounds.

    Libraries would wait for a pipe, and make a list of as many layers or labels as a config names.
    """
    paths = sorted(folder.iterdir())
    names = {repr(path.name) for path in paths}
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise EncoderError(f"{path}: is no plain file; put the file itself there, or remove it")
        if path.suffix in _TEXTS and path.is_file() and path.stat().st_size > MOST_BYTES_OF_LISTS:
            raise EncoderError(
                f"{path}: has {path.stat().st_size:,} bytes, more than {MOST_BYTES_OF_LISTS:,}; save the model again"
            )
        if path.name.endswith(".index.json"):
            shards = _values(path).get("weight_map")
            for name in {*map(repr, shards.values())} if isinstance(shards, dict) else ():
                if name not in names:
                    raise EncoderError(f"{path}: names {name}, which must be a file beside it; save the model again")
    _check_counts(folder / "config.json", _values(folder / "config.json"))


def _values(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing if that is no object, of which its reader says what is wrong."""
    try:
        values = read_value(path, most=MOST_BYTES_OF_LISTS)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _check_counts(path: Path, values: object) -> None:
    for key, value in values.items() if isinstance(values, dict) else ():
        _check_counts(path, value)
        if type(value) is int and value > _MOST_COUNTED and _COUNTS.search(key):
            raise EncoderError(f"{path}: {key} must be at most {_MOST_COUNTED:,}, got {value}; save the model again")


@contextmanager
def sized_as(shapes: Collection[Sequence[int]], source: str) -> Iterator[None]:
    """A block that builds networks on the device "meta", if they are about as large as the tensors of these shapes.

    A description of a hundred bytes can ask for any network; here it is counted as it grows, and takes no memory.

    Raises:
        EncoderError: it is much larger.
    """
    held = sum(map(math.prod, shapes))
    rule = f"the weights are {held:,} in {len(shapes):,}: they do not belong together"
    with counted(source, 2 * held + _MOST_BESIDE, 4 * len(shapes) + _MOST_TENSORS_BESIDE, rule):
        yield


@contextmanager
def counted(source: str, most_values: int, most_tensors: int, rule: str) -> Iterator[None]:
    """A block that builds networks on the device "meta", of at most so many numbers and tensors.

    Raises:
        EncoderError: there are more, which is against the rule.
    """
    here = threading.get_ident()
    values = tensors = 0

    def count(_: nn.Module, __: str, value: Tensor | None) -> None:
        nonlocal values, tensors
        if value is None or threading.get_ident() != here:
            return
        values, tensors = values + value.numel(), tensors + 1
        if values > most_values or tensors > most_tensors:
            raise MemoryError

    hooks = [
        nn.modules.module.register_module_parameter_registration_hook(count),
        nn.modules.module.register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            yield
    except MemoryError:
        raise EncoderError(
            f"{source}: the network that is described has {values:,} numbers in {tensors:,} tensors and more, {rule}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip with constants and a program beside its data."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
    except zipfile.BadZipFile:
        return False
    return {"data.pkl", "constants.pkl"} <= names


class _Inert:
    """What stands for any class that a TorchScript archive names: it keeps its state and does nothing."""

    def __init__(self, *_: object):
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _rebuild(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    """A tensor on its storage; strides that lead outside are refused by torch."""
    return torch.as_strided(storage, size, stride, offset)


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that knows tensors and ordered dictionaries; every other name is `_Inert`."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name).dtype
        return type(name, (_Inert,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        _, kind, key, _, _ = pid
        content = bytearray(self._archive.read(f"{self._root}/data/{int(key)}"))
        return torch.frombuffer(content, dtype=kind) if content else torch.empty(0, dtype=kind)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of the archive's module tree, named as its state dict names them."""
    with zipfile.ZipFile(path) as archive:
        (data,) = (name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl")
        tree = _TensorsOnly(archive, str(PurePosixPath(data).parent)).load()
    found: dict[str, Tensor] = {}

    def walk(node: object, prefix: str) -> None:
        state = node.state if isinstance(node, _Inert) else None
        for name, value in state.items() if isinstance(state, dict) else ():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            else:
                walk(value, f"{prefix}{name}.")

    walk(tree, "")
    return found
