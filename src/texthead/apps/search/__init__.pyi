"""The public names of the package, imported on first use."""

from .windows import encode_windows as encode_windows
