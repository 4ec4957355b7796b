"""The public names of the package, imported on first use."""

from .tasks import document_root as document_root
