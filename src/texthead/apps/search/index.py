"""The index of a folder: the features of the windows of its files."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead import Encoder, EncoderOptions, ReadOptions, Reporter, Run
from texthead.apps.search.windows import Windows, as_model, encode_windows
from texthead.data import read_files
from texthead.errors import MediaError
from texthead.extensions import code_of_packages
from texthead.features import check_any, software_key
from texthead.files import cache_dir
from texthead.media import MediaPath, Span

# Windows that are compared at once: in single precision they fit in the caches of a processor.
_AT_ONCE = 512


@dataclass(frozen=True, eq=False, repr=False)
class Index(Windows):
    """The windows of the files of a folder or manifest; images and parts of videos are one window each.

    Attributes:
        data: the folder or manifest, whose files are in the order of `read_files`.
        model: what encoded it.
    """

    data: Path
    model: Encoder | Run

    def __len__(self) -> int:
        return len(self.file_of)

    def __repr__(self) -> str:
        return f"Index({str(self.data)!r}: {len(self)} windows of {len(self.paths)} files)"

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder; for a run the one that it was trained from, which encodes its texts."""
        return self.model if isinstance(self.model, Encoder) else self.model.encoder()

    @property
    def run(self) -> Run | None:
        """The run, if one encoded the files."""
        return None if isinstance(self.model, Encoder) else self.model

    @property
    def skipped(self) -> list[MediaError]:
        """The errors of the files that cannot be read."""
        return [MediaError(path, problem) for path, problem in self.problems.items()]

    def media(self, window: int) -> MediaPath:
        """Return what a window shows: a file, or a part of a video."""
        return MediaPath(self.paths[int(self.file_of[window])]).part(Span(*self.spans[window].tolist()))

    @cached_property
    def center(self) -> Float[Tensor, " dim"]:
        """The mean feature of the windows."""
        return torch.stack([chunk.float().sum(0) for chunk in self.features.split(_AT_ONCE)]).sum(0) / len(self)

    @cached_property
    def _norms(self) -> Float[Tensor, " windows"]:
        chunks = self.features.split(_AT_ONCE)
        return torch.cat([(chunk.float() - self.center).norm(dim=1) for chunk in chunks]).clamp_min(1e-6)

    def cosines(self, rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows windows"]:
        """Return the cosine of each row and each window's feature minus `center`, computed in single precision."""
        rows = F.normalize(rows.float(), dim=-1)
        products = torch.cat([rows @ chunk.float().T for chunk in self.features.split(_AT_ONCE)], dim=1)
        return products.sub_((rows @ self.center)[:, None]).div_(self._norms)


def open_index(
    data: str | Path,
    model: str | Encoder | EncoderOptions | Run = "mini",
    reading: ReadOptions = ReadOptions(cache=True, engine="auto"),
    *,
    reporter: Reporter = Reporter(),
) -> Index:
    """Return the index of a folder or manifest, brought up to date: only new and changed files are encoded.

    The index is in the user's cache folder. With a cache of features, a renamed or touched file is not encoded again,
    and a build that was killed continues where it was.

    Args:
        data: a folder of videos and images, or a manifest as `read_files` reads it.
        model: an encoder, its name, options with its text encoder and device, or a run.
        reading: how files are read. Unreadable ones are always left out, and tried again when they change.
        reporter: gets progress, messages and unreadable files.

    Raises:
        DataError: there is no such data, or no file in it can be read.
        RunError: the index cannot be written.
    """
    model = model if isinstance(model, Run) else EncoderOptions.from_encoder(model).load(())
    run = model if isinstance(model, Run) else Run.from_model(as_model(model))
    files = read_files(data)
    for note in files.notes:
        reporter.note(note)
    software = software_key(), code_of_packages("texthead.temporal")
    key = str(MediaPath(data).resolved()), run.model.features_digest(), run.protocol, software
    file = cache_dir() / "indexes" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"
    paths = [item.path for item in files.items]
    windows = encode_windows(run.model, paths, run.protocol, reading, reporter, file=file)
    index = Index(data=Path(data), model=model, **vars(windows))
    check_any(paths, range(len(index)), index.skipped)
    for error in index.skipped:
        reporter.skipped(error)
    return index
