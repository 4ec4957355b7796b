"""Allow or forbid downloads of encoders. Cached encoders load either way."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from texthead.errors import EncoderError

# The hub client's offline switch is global, so only one block at a time may set it.
_SWITCH = threading.RLock()


@contextmanager
def no_downloads() -> Iterator[None]:
    """Put the hub client of this process offline; transformers, timm and open_clip then use its cache only."""
    from huggingface_hub import constants

    with _SWITCH:
        before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


@contextmanager
def downloads(source: str, location: Callable[[], str], *, allowed: bool) -> Iterator[None]:
    """Forbid downloads in the block unless `allowed`.

    Args:
        source: the encoder that the block loads, for the message.
        location: returns where it is published, for the message.
        allowed: whether it may be downloaded.

    Raises:
        EncoderError: a download was needed.
    """
    if allowed:
        yield
        return
    try:
        with no_downloads():
            yield
    except EncoderError as error:
        if not _was_blocked(error):
            raise
        raise EncoderError(
            f"the run needs encoder {source}, which is not on this machine and would be downloaded from {location()}: "
            "if you trust the run, load it with `allow_download=True`"
        ) from None


def check_url(url: str, folder: Path) -> None:
    """Raise OfflineModeIsEnabled if a file is not cached and the hub client is offline.

    For files that libraries download without the hub client, which therefore ignore its offline switch.

    Args:
        url: the file's address.
        folder: the cache folder of the library that downloads it.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_offline_mode() and not (folder / url.rpartition("/")[2]).is_file():
        raise OfflineModeIsEnabled(f"{url} is not in {folder}")


def _was_blocked(error: BaseException | None) -> bool:
    """Return whether an error was caused by an uncached file while the client is offline."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return True
        error = error.__cause__ or error.__context__
    return False
