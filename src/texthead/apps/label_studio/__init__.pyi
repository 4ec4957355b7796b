"""The public names of the package, imported on first use."""

from . import labelling_tools as labelling_tools
from .tasks import document_root as document_root
