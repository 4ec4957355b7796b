"""Checks of output paths before a command runs: they can be written, and are not inputs."""

from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from texthead.cli.parser import values_of
from texthead.errors import DataError, either, raising
from texthead.media.paths import MediaPath
from texthead.platform import is_reserved


def check_outputs(command: Any, **endings: str) -> None:
    """Raise DataError if an output file of a command is one of its inputs, or as `check_out_file`.

    Args:
        endings: `writes` of options whose fields do not say it.
    """
    endings |= {field.name: ends for field in fields(command) if (ends := field.metadata.get("writes"))}
    values, written = values_of(command), {}
    for name, ends in endings.items():
        if not (value := values.pop(name)):
            continue
        path, flag = Path(value), f"--{name} {value}"
        if is_reserved(path):
            raise DataError(f"{flag}: Windows reserves this name; choose another")
        if ends == "/":
            _check_folder(flag, path)
            continue
        check_out_file(flag, path, ends)
        if written.setdefault(path.resolve(), flag) != flag:
            raise DataError(f"{flag}: is the file of {written[path.resolve()]}; name another file")
    texts = [each for value in values.values() for each in (value if isinstance(value, list | tuple) else [value])]
    # As DATA or hf:FOLDER.
    named = [name for text in texts if isinstance(text, str) for name in (text, text.partition(":")[2]) if name]
    for name in named if written else ():
        source = MediaPath(name).file
        try:
            if not source.exists():
                continue
            source = source.resolve()
        except (OSError, ValueError):  # Class names may be longer than file names.
            continue
        if source in written:
            raise DataError(f"{written[source]}: is an input of this command; name another file")


def check_out_file(flag: str, path: Path, endings: str) -> None:
    """Raise DataError unless a path has one of these endings and can be written.

    Args:
        flag: the option and its value, for the message.
    """
    ends = endings.split()
    if path.suffix.lower() not in ends:
        raise DataError(f"{flag}: must end in {either(ends)}")
    with raising(DataError, f"{flag}: cannot be written", "choose another name"):
        if path.exists() and not path.is_file():
            raise DataError(f"{flag}: is a {'folder' if path.is_dir() else 'device or pipe'}; name a file")
    _check_folder(flag, path.parent)


def _check_folder(flag: str, path: Path) -> None:
    """Raise DataError if a folder is a file, or cannot be made or written to."""
    with raising(DataError, f"{flag}: cannot be created", "name another folder"):
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise DataError(f"{flag}: {there} is not a folder; name another folder")
    with raising(DataError, f"{flag}: {there} cannot be written to", "name another folder"), TemporaryFile(dir=there):
        pass
