"""FFmpeg for the peers without the system's: PyAV's own libraries, and the program of imageio-ffmpeg."""

import importlib.util
import os
import re
import shutil
from pathlib import Path


def linked(folder: Path) -> str:
    """Return an LD_LIBRARY_PATH on which torchcodec finds the libraries inside PyAV's wheel, through links in `folder`.

    The links have the usual names, `libavcodec.so.62`; the wheel's own names contain a digest. Empty if the wheel
    has none. The loader reads the path when a process starts, so it is for new processes.
    """
    spec = importlib.util.find_spec("av")
    inside = Path(spec.origin).parent.parent / "av.libs" if spec and spec.origin else folder
    libraries = [(path, re.fullmatch(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+).*", path.name)) for path in inside.glob("lib*")]
    links = [(path, match) for path, match in libraries if match]
    for path, match in links:
        (folder / f"{match[1]}{match[2]}").symlink_to(path)
    before = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([str(folder), str(inside), *([before] if before else [])]) if links else before or ""


def binary() -> str:
    """Return the ffmpeg program of imageio-ffmpeg, or else the system's.

    Raises:
        ImportError: neither is installed.
    """
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        program = shutil.which("ffmpeg")
        if program is None:
            raise ImportError("neither imageio-ffmpeg nor a program ffmpeg is installed") from None
        return program
    return imageio_ffmpeg.get_ffmpeg_exe()
