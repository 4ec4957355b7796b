"""The public names of the package, imported on first use."""

from .export import export as export
