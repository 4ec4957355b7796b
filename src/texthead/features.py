"""Encode once: frame features by content, so that heads and temporal modules train in seconds.

A feature is addressed by what made it: the encoder's weights, the preprocessing, the file's bytes and the frame's
index. Any other weight, crop or file is another address, so nothing stale can be read.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.clips import check_file
from texthead.datasets import Pixels
from texthead.decoding import is_image, open_media
from texthead.errors import MediaError, TextheadError
from texthead.files import cache_dir, content_digest
from texthead.frame_files import frame_files, is_template
from texthead.sampling import centre_in_segment
from texthead.shard_files import is_member, resolved
from texthead.towers import Visual
from texthead.transforms import view_crops
from texthead.workers import data_loader, watched

Choose = Callable[[int], list[int]]
Progress = Callable[[int, int], None]


def evenly(length: int, most: int) -> list[int]:
    """At most `most` different frames, evenly placed: all of a short video, segment centres of a longer one."""
    return list(range(length)) if length <= most else centre_in_segment(length, most)


def encoder_key(visual: Visual, pixels: Pixels) -> str:
    """A digest of the weights, the architecture and the preprocessing: the first half of a feature's address."""
    return weights_key(visual, repr((visual.spec, pixels)))


def weights_key(model: nn.Module, about: str) -> str:
    """A digest of a model's weights, and of what is told about it."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


class FeatureCache:
    """Frame features of one encoder and preprocessing in one SQLite file.

    Safe for several processes at once; a process that is killed leaves whole rows or none.

    Raises:
        TextheadError: the file cannot be written (full or read-only disk).
    """

    def __init__(self, key: str, folder: Path | None = None):
        folder = cache_dir() / "features" if folder is None else folder
        self.key = key
        self.path = folder / f"{key}.sqlite"
        with self._faults():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=60)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # While another process writes, the switch fails at once, whatever the timeout; all works without it.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            # After a power cut the last rows may be missing, never wrong: they are computed again.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS files(path TEXT PRIMARY KEY, stamp TEXT, digest TEXT)")
            self._db.execute("CREATE TABLE IF NOT EXISTS lengths(digest TEXT PRIMARY KEY, length INTEGER)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS frames"
                "(digest TEXT, frame INTEGER, feature BLOB, PRIMARY KEY(digest, frame))"
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise TextheadError(
                f"{self.path}: feature cache cannot be used ({error}); "
                "free the disk, or name another folder in --cache or TEXTHEAD_CACHE"
            ) from None

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, remembered while its size and times of modification and change stay.

        Copying tools set the modification time back; the time of change can't be set. Of a folder of frames all files
        count, in the order of their numbers.

        Raises:
            MediaError: the file cannot be read.
        """
        if is_member(path):
            return content_digest(path)
        files = frame_files(path) if is_template(path) else [path]
        for file in files:
            check_file(file)
        try:
            stamps = [f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for s in map(Path.stat, files)]
            stamp = stamps[0] if files == [path] else hashlib.sha256("\n".join(stamps).encode()).hexdigest()
            # A name that is no UTF-8 is no text for the database.
            name = str(resolved(path)).encode("utf-8", "backslashreplace").decode("utf-8")
            with self._faults():
                row = self._db.execute("SELECT stamp, digest FROM files WHERE path = ?", (name,)).fetchone()
            if row and row[0] == stamp:
                return row[1]
            digest = content_digest(path)
        except OSError as error:
            raise MediaError(path, f"cannot be read ({error.strerror}); check the path") from None
        with self._faults(), self._db:
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, stamp, digest))
        return digest

    def length(self, digest: str) -> int | None:
        """The number of frames of a file that has been opened before."""
        with self._faults():
            row = self._db.execute("SELECT length FROM lengths WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else None

    def get(self, digest: str, indices: Sequence[int]) -> Float[Tensor, "frames dim"] | None:
        """The features of the frames in order, or None if one of them is not there."""
        with self._faults():
            rows = dict(self._db.execute("SELECT frame, feature FROM frames WHERE digest = ?", (digest,)).fetchall())
        if not all(index in rows for index in indices):
            return None
        return torch.from_numpy(np.stack([np.frombuffer(rows[index], np.float32) for index in indices]))

    def put(self, digest: str, length: int, indices: Sequence[int], features: Float[Tensor, "frames dim"]) -> None:
        """Keep the features of some frames of a file."""
        blobs = [row.tobytes() for row in features.float().cpu().numpy()]
        with self._faults(), self._db:
            self._db.execute("INSERT OR REPLACE INTO lengths VALUES (?, ?)", (digest, length))
            self._db.executemany(
                "INSERT OR REPLACE INTO frames VALUES (?, ?, ?)",
                [(digest, index, blob) for index, blob in zip(indices, blobs, strict=True)],
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class FrameFeatures(NamedTuple):
    """The features of some frames of one file, by ascending frame index; `length` counts all its frames."""

    length: int
    indices: list[int]
    features: Float[Tensor, "frames dim"]


class _Frames(torch.utils.data.Dataset):
    """Chosen frames of files: (length, indices, frames), or the MediaError."""

    def __init__(self, paths: Sequence[Path], choose: Choose, pixels: Pixels):
        self.paths = [str(path) for path in paths]  # Quicker to hand to processes.
        self.choose = choose
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[int, list[int], Tensor] | MediaError:
        try:
            with open_media(self.paths[position]) as media:
                length = media.num_frames
                indices = sorted(set(self.choose(length)))
                frames = media.frames_at(indices)
        except MediaError as error:
            return error
        p = self.pixels
        return (
            length,
            indices,
            view_crops(frames, p.size, p.resize, 1, p.interpolation, squash=p.squash)[0],
        )


@watched()
@torch.inference_mode()
def frame_features(
    visual: Visual,
    paths: Sequence[Path],
    choose: Choose,
    pixels: Pixels,
    *,
    cache: FeatureCache | None,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[FrameFeatures | MediaError]:
    """For each file, the sorted frame indices that `choose` picks of its length, and their features.

    The centre crop of each frame is encoded, once; what the cache holds is not decoded again. A file that cannot be
    read gives its MediaError. `choose` must be picklable where `workers` is above 0.

    Raises:
        TextheadError: the cache is of another encoder or preprocessing, or its file cannot be used.
    """
    if cache and cache.key != encoder_key(visual, pixels):
        raise TextheadError(
            f"{cache.path}: holds features of other weights or another size: make the cache with "
            "FeatureCache(encoder_key(visual, pixels)) of the encoder as it is now"
        )
    found: list[FrameFeatures | MediaError | None] = [None] * len(paths)
    digests: list[str] = [""] * len(paths)
    for position, path in enumerate(paths if cache else ()):
        assert cache is not None
        try:
            # The same bytes have other frames as a picture than as a video, or can be read as one of the two only.
            digests[position] = cache.digest(path) + (" as a picture" if is_image(path) else "")
        except MediaError as error:
            found[position] = error
            continue
        length = cache.length(digests[position])
        indices = sorted(set(choose(length))) if length else []
        features = cache.get(digests[position], indices) if indices else None
        found[position] = FrameFeatures(length, indices, features) if length and features is not None else None
    missing = [position for position, entry in enumerate(found) if entry is None]
    loader = data_loader(_Frames([paths[i] for i in missing], choose, pixels), workers, batch_size=None)
    for position, entry in zip(missing, _encoded(visual, loader), strict=True):
        found[position] = entry
        if cache and isinstance(entry, FrameFeatures):
            cache.put(digests[position], *entry)
        if progress:
            progress(len(found) - sum(entry is None for entry in found), len(paths))
    return [entry for entry in found if entry is not None]


def frames_together(device: torch.device) -> int:
    """So many frames go through an encoder at once where no gradient is wanted.

    On a CPU few: the activations of more outgrow its caches, and are new memory each time. (EfficientNet-Lite0 at 224
    pixels: 47 frames a CPU-second by 8, 29 by 64; ViT-B/32 the same either way.)
    """
    return 8 if device.type == "cpu" else 64


def _encoded(visual: Visual, entries: Iterable[tuple[int, list[int], Tensor] | MediaError]):
    """The features of each entry in order, the frames of neighbours encoded together."""
    was_training = visual.training
    visual.eval()
    device = next(visual.parameters()).device
    waiting: list[tuple[int, list[int], Tensor] | MediaError] = []

    def flush() -> Iterator[FrameFeatures | MediaError]:
        frames = [entry[2] for entry in waiting if not isinstance(entry, MediaError)]
        parts = torch.cat(frames).split(frames_together(device)) if frames else ()
        encoded = [visual(part.to(device)).float().cpu() for part in parts]
        rows = iter(torch.cat(encoded).split([len(part) for part in frames]) if frames else ())
        for entry in waiting:
            yield entry if isinstance(entry, MediaError) else FrameFeatures(entry[0], entry[1], next(rows))
        waiting.clear()

    for entry in entries:
        waiting.append(entry)
        if sum(len(e[2]) for e in waiting if not isinstance(e, MediaError)) >= frames_together(device):
            yield from flush()
    yield from flush()
    visual.train(was_training)


def readable(
    entries: Sequence[object], *, skip: bool, remedy: str = "--skip-unreadable would leave out and list such files"
) -> tuple[list[int], list[MediaError]]:
    """Positions of the entries that are no MediaError, and the errors.

    Args:
        remedy: what is to be done about one that is not skipped.

    Raises:
        MediaError: the first file that could not be read, unless `skip`.
    """
    errors = [entry for entry in entries if isinstance(entry, MediaError)]
    if errors and not skip:
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        raise MediaError(errors[0].path, f"{errors[0].problem}{more}; {remedy}")
    return [i for i, entry in enumerate(entries) if not isinstance(entry, MediaError)], errors
