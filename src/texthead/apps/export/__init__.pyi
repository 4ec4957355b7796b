"""The public names of the package, imported on first use."""

from .export import export as export
from .upload import push_to_hub as push_to_hub
