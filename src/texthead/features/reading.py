"""How files are read while a model scores them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import get_args

from texthead.errors import DataError
from texthead.features.cache import FeatureCache
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.parallel.distributed import gather_list
from texthead.recipes import EngineName


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        workers: data-loader workers; 0 decodes in this process.
        batch: files encoded together where no cache is used. With 1, a file's features depend on no other file; more
            is faster, and the last bits of a file's features then depend on its batch, though not on the number of
            processes. The head scores 256 files at a time, so the last bits of scores depend on those in any case.
        cache: frame features on disk. With one crop and an encoder that sees frames apart, frames that were encoded
            before are not decoded again.
        skip_unreadable: leave out files that cannot be read instead of raising MediaError.
        most_megapixels: what decoding a file may hold at once, in millions of pixels of three bytes; a file that would
            hold more cannot be read.
        engine: what computes the features of an encoder that sees frames apart: "eager" as torch runs it; "auto" the
            fastest on this machine, whose features are the same to 1e-6 (1 - cosine); or the one to take, of which
            "bf16" alone gives other features.
        say: called with a line on an engine that was tried, or is not exact; and on rows of the cache that are damaged.
        used: called with the name of each engine that computed features, now or when they were put into the cache;
            with "kept" for features of the cache whose engine is not recorded.

    Raises: DataError for a batch or most_megapixels below 1, or an unknown engine.
    """

    workers: int = 0
    batch: int = 1
    cache: FeatureCache | None = None
    skip_unreadable: bool = False
    engine: EngineName = "eager"
    say: Callable[[str], None] = silent
    used: Callable[[str], None] = silent
    most_megapixels: int = MOST_MEGAPIXELS

    def __post_init__(self) -> None:
        for name in ("batch", "most_megapixels"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.engine not in get_args(EngineName):
            raise DataError(f"engine must be one of {', '.join(get_args(EngineName))}, got {self.engine!r}")


def engines_text(used: Collection[str]) -> str:
    """Return the names of the engines that computed features on all processes, as `eager, onnxruntime`.

    Without any, no engine ran the encoder but torch. All processes must call it.
    """
    return ", ".join(sorted(set(gather_list(sorted(used))))) or "eager"
