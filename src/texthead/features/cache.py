"""Features of clips on disk, keyed by encoder, preprocessing, file content and frames."""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.encoders.encoder import VisualEncoder
from texthead.encoders.lazy import weights_digest
from texthead.errors import MediaError, TextheadError, raising
from texthead.extensions import code_of_packages
from texthead.extras import version
from texthead.features.engine import NETWORKS
from texthead.files import cache_dir
from texthead.media.limits import check_file
from texthead.media.paths import MediaPath
from texthead.recipes import EngineName

# The end of the files' names, with the number of the tables' form.
_SUFFIX = ".5.sqlite"

# Raise it if the same files and weights give other features, since decoding or resizing changed.
_FEATURES_FORMAT = 2

# The packages that decode files.
_DECODERS = ("pillow", "av", "simplejpeg", "pi_heif")

_TABLES = {
    "files": "path TEXT PRIMARY KEY, stamp TEXT, digest TEXT",
    # The times of all frames in seconds: they tell the length of a file and the frames of its parts without opening it.
    "media": "digest TEXT PRIMARY KEY, times BLOB",
    # The frame indices of a clip, with blanks between them; a frame is a clip of one.
    "clips": "digest TEXT, frames TEXT, engine TEXT, feature BLOB, PRIMARY KEY(digest, frames)",
}

# Ends the digest of an image: the same bytes read as a picture and as a video have different frames.
AS_PICTURE = " as an image"


class FeatureCache:
    """Features of one encoder and preprocessing in one SQLite file.

    Safe for several processes; a killed process leaves whole rows or none. A pickled cache is opened again.

    Args:
        number_type: how features are stored, "float32" or "float16".

    Raises:
        TextheadError: the file cannot be written (full or read-only disk).
    """

    def __init__(self, key: str, folder: Path, number_type: str = "float32"):
        self.key = key
        self.number_type = number_type
        self.path = folder / f"{key}{_SUFFIX}"
        with self._errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=60)
            # The switch fails at once while another process writes, whatever the timeout; WAL is optional.
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA journal_mode=WAL")
            # After a power cut the last rows may be missing, never wrong; missing rows are recomputed.
            self._db.execute("PRAGMA synchronous=NORMAL")
            for table, columns in _TABLES.items():
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}({columns})")

    def __reduce__(self) -> tuple[type["FeatureCache"], tuple[str, Path, str]]:
        return FeatureCache, (self.key, self.path.parent, self.number_type)

    def _errors(self) -> AbstractContextManager[None]:
        remedy = "remove the file if it is damaged, free disk space, or set `cache` or TEXTHEAD_CACHE to another folder"
        return raising(TextheadError, f"{self.path}: feature cache cannot be used", remedy, sqlite3.Error)

    def identify(self, media: MediaPath) -> tuple[str, str]:
        """Return the SHA-256 of a file's bytes, cached while its stamp stays the same, and the stamp, taken before.

        For a part, both are those of its file. For a folder of frames, the digest covers all files in frame order.

        Raises:
            MediaError: the file cannot be read, or has no such part.
        """
        media.check_part()
        path, stamp = media.file, media.stamp()
        media = MediaPath(path)
        if media.is_member:
            return media.digest(), stamp
        for file in media.files():
            check_file(file)
        with raising(partial(MediaError, path), "cannot be read", "check the path"):
            # SQLite cannot store a name that is not UTF-8 as text.
            name = str(media.resolved()).encode("utf-8", "backslashreplace").decode("utf-8")
            with self._errors():
                row = self._db.execute("SELECT stamp, digest FROM files WHERE path = ?", (name,)).fetchone()
            if row and row[0] == stamp:
                return row[1], stamp
            digest = media.digest()
        with self._errors(), self._db:
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, stamp, digest))
        return digest, stamp

    def times(self, digest: str) -> Float[np.ndarray, " frames"]:
        """Return the times of all frames of a file in seconds; none if it is not cached."""
        with self._errors():
            row = self._db.execute("SELECT times FROM media WHERE digest = ?", (digest,)).fetchone()
        return np.frombuffer(row[0] if row else b"", np.float64)

    def engines(self, digest: str, clips: Sequence[Sequence[int]]) -> set[str] | None:
        """Return the engines that computed the features of clips of a file; None if a clip is missing."""
        with self._errors():
            engine_of = dict(self._db.execute("SELECT frames, engine FROM clips WHERE digest = ?", (digest,)))
        wanted = {*map(_text, clips)}
        return {engine_of[clip] for clip in wanted} if wanted <= engine_of.keys() else None

    def get(self, digest: str, clips: Sequence[Sequence[int]]) -> Float[Tensor, "clips numbers"]:
        """Return the features of clips of a file in order.

        Raises:
            TextheadError: a clip is missing, or the file cannot be read.
        """
        query = "SELECT feature FROM clips WHERE digest = ? AND frames = ?"
        with self._errors():
            rows = [self._db.execute(query, (digest, _text(clip))).fetchone() for clip in clips]
        if None in rows:
            raise TextheadError(
                f"{self.path}: features of a clip are missing; start again, with a `cache` folder "
                "that all processes share"
            )
        return torch.from_numpy(np.stack([np.frombuffer(blob, self.number_type) for (blob,) in rows]))

    def put(
        self,
        digest: str,
        times: Sequence[float],
        clips: Sequence[Sequence[int]],
        features: Float[Tensor, "clips *tokens dim"],
        engine: EngineName = "eager",
    ) -> None:
        """Store features of a file's clips and the engine that computed them, and its frame times."""
        blobs = [row.tobytes() for row in features.float().cpu().numpy().astype(self.number_type)]
        rows = ((digest, _text(clip), engine, blob) for clip, blob in zip(clips, blobs, strict=True))
        seconds = np.asarray(times, np.float64).tobytes()
        with self._errors(), self._db:
            self._db.execute("INSERT OR REPLACE INTO media(digest, times) VALUES (?, ?)", (digest, seconds))
            self._db.executemany("INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _text(clip: Sequence[int]) -> str:
    """Return the frames of a clip as stored."""
    return " ".join(map(str, clip))


def open_cache(visual: VisualEncoder, protocol: Protocol, folder: str | Path | bool) -> FeatureCache | None:
    """Return the cache of an encoder, and a protocol's sizes and crops, in a folder; None without a folder.

    Args:
        folder: True for the folder `features` in the user's cache folder, False for none. There is none for a visual
            encoder with an `identity`.
    """
    if not folder or visual.identity is not None:
        return None
    key = f"{encoder_key(visual, protocol.pixels or visual.spec.pixels(), protocol.views)}-{software_key()}"
    return FeatureCache(key, cache_dir() / "features" if folder is True else Path(folder), visual.spec.number_type)


def software_key() -> str:
    """Return a digest of the software that features depend on: what decodes and encodes, and the code of packages."""
    code = code_of_packages("texthead.encoders", "texthead.readers")
    software = _FEATURES_FORMAT, *map(version, (*_DECODERS, *NETWORKS)), code
    return hashlib.sha256(repr(software).encode()).hexdigest()[:16]


def encoder_key(visual: VisualEncoder, pixels: Pixels, views: Views = Views()) -> str:
    """Return a digest of weights, architecture and preprocessing: the key of an encoder's feature cache."""
    crops = (views.crops, views.along) if views.crops > 1 else ()
    about = repr((weights_digest(visual), pixels, *crops))
    return hashlib.sha256(about.encode()).hexdigest()[:32]
