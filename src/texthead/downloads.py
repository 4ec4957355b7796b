"""Allow, forbid or skip downloads from hubs. What is cached loads either way."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path

from texthead.errors import EncoderError, RunError, line_of, raising

# Seconds in which a server must answer. Without a network the hub client would try again for a minute and more.
PATIENCE = 5.0

# Sources whose weights may be on the hub.
_ON_HUB = ("openclip:", "hf:", "timm:", "text:")

# The hub client's offline switch is global, so only one block at a time may set it.
_SWITCH = threading.RLock()


@contextmanager
def download_errors(source: str, remedy: str) -> Iterator[None]:
    """Turn errors of model libraries and the hub client into EncoderError; what they print goes to standard error.

    Args:
        source: the encoder that the block loads.
        remedy: what to do, the end of the message.
    """
    # PE-Video prints remarks on its docstrings, and they may raise anything.
    with redirect_stdout(sys.stderr), raising(EncoderError, f"'{source}': cannot be loaded", remedy, Exception):
        yield


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
def cache_without_network() -> Iterator[str]:
    """Use the hub client's cache only if the hub does not answer.

    Yields:
        What to say of the network: `https://huggingface.co cannot be reached (...)`; "" if the server answers.
    """
    from huggingface_hub import constants

    problem = _problem(constants.ENDPOINT)
    with no_downloads() if problem else nullcontext():
        yield f"{constants.ENDPOINT} cannot be reached ({problem})" if problem else ""


def _problem(server: str) -> str:
    """Return why a server does not answer in time; "" if it does, even with an error."""
    from huggingface_hub import is_offline_mode
    from huggingface_hub.utils import get_session

    if is_offline_mode():
        return "offline mode, HF_HUB_OFFLINE"
    problem = [f"no answer in {PATIENCE:.0f} seconds"]

    def ask() -> None:
        try:
            get_session().head(server, timeout=PATIENCE)
            problem[0] = ""
        except Exception as error:  # Those of the client's HTTP library, which is another in each version.
            problem[0] = line_of(error, 100)

    # A thread, since looking up a name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return problem[0]


@contextmanager
def downloads(source: str, *, allowed: bool) -> Iterator[None]:
    """Forbid downloads in the block unless `allowed`, and without a network use the cache only.

    Args:
        source: the encoder that the block loads; nothing is asked of the hub for files and built-in encoders.
        allowed: whether it may be downloaded.

    Raises:
        EncoderError: a download was needed.
    """
    problem, on_hub = "", source.startswith(_ON_HUB) and not named_paths(source)
    access = cache_without_network() if allowed and on_hub else nullcontext("")
    try:
        with access as problem, nullcontext() if allowed else no_downloads():
            yield
    except EncoderError as error:
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled):
            cause = cause.__cause__ or cause.__context__
        if cause is None or (allowed and not problem):  # Not a file that is missing while the client is offline.
            raise
        remedy = "if you trust the run, load it once with th.load_run(RUN, allow_download=True)"
        if allowed:
            remedy = f"{problem}: connect to the network once, or name a folder or file with its weights"
        raise EncoderError(f"encoder '{source}' is not on this machine: {remedy}") from None


def named_paths(source: str) -> list[Path]:
    """Return the folder or file that a source names: hf:FOLDER, openclip:local-dir:FOLDER, timm:NAME/FILE."""
    rest = source.partition(":")[2]
    names = (rest, rest.partition(":")[2], rest.partition("/")[2])
    return [Path(name) for name in names if name and Path(name).exists()]


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


def hub_errors(address: str, problem: str = "") -> AbstractContextManager[None]:
    """Convert errors of the hub's client to RunError; `problem` is what is wrong with the network."""
    what = f"is not on this machine, and {problem}" if problem else "the hub refused or cannot be reached"
    remedy = "check name, revision, connection and token (hf auth login)"
    return raising(RunError, f"{address}: {what}", remedy, Exception)
