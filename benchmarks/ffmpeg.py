"""FFmpeg for the peers, so that none needs the system's: PyAV's own libraries, and the program of imageio-ffmpeg."""

import importlib.util
import os
import re
import shutil
from pathlib import Path


def linked(folder: Path) -> str:
    """An LD_LIBRARY_PATH on which torchcodec finds the libraries inside PyAV's wheel, through links in `folder`.

    They have their usual names there, `libavcodec.so.62`; the wheel's own names hold a digest. Empty where the wheel
    brings none. The loader looks at the path when a process starts, so it is for processes to come.
    """
    spec = importlib.util.find_spec("av")
    inside = Path(spec.origin).parent.parent / "av.libs" if spec and spec.origin else folder
    found = [(path, re.fullmatch(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+).*", path.name)) for path in inside.glob("lib*")]
    links = [(path, match) for path, match in found if match]
    for path, match in links:
        (folder / f"{match[1]}{match[2]}").symlink_to(path)
    before = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([str(folder), str(inside), *([before] if before else [])]) if links else before or ""


def binary() -> str:
    """The ffmpeg program of imageio-ffmpeg, or else the system's.

    Raises: ImportError where there is neither.
    """
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        found = shutil.which("ffmpeg")
        if found is None:
            raise ImportError("neither imageio-ffmpeg nor a program ffmpeg is installed") from None
        return found
    return imageio_ffmpeg.get_ffmpeg_exe()
