"""Whether an encoder may be downloaded. What is cached on this machine loads either way."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from texthead.errors import EncoderError

# The hub client's offline switch belongs to the process: one block at a time sets it.
_SWITCH = threading.RLock()


@contextmanager
def no_downloads() -> Iterator[None]:
    """Switch the hub's client offline for the whole process; transformers, timm and open_clip then read its cache."""
    from huggingface_hub import constants

    with _SWITCH:
        before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


@contextmanager
def downloads(source: str, place: Callable[[], str], *, allowed: bool) -> Iterator[None]:
    """Load an encoder within this block, from this machine alone unless downloads are allowed.

    Args:
        source: the encoder, for the message.
        place: returns where it is published, for the message.
        allowed: whether it may be downloaded.

    Raises:
        EncoderError: the encoder is not on this machine.
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
            f"the run needs encoder {source}, which is not on this machine and would be downloaded from {place()}: if "
            "you trust the run, allow that (--allow-download, or load_run(..., allow_download=True))"
        ) from None


def check_url(url: str, folder: Path) -> None:
    """Raise OfflineModeIsEnabled if a file that no hub's client fetches is not in its folder and the client is offline.

    Args:
        url: the file's address.
        folder: where a library keeps what it downloads from there.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_offline_mode() and not (folder / url.rpartition("/")[2]).is_file():
        raise OfflineModeIsEnabled(f"{url} is not in {folder}")


def _was_blocked(error: BaseException | None) -> bool:
    """Return whether an error comes from a file that is in no cache while the client is offline."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return True
        error = error.__cause__ or error.__context__
    return False
