"""The public names of the package, imported on first use."""

from .adapt_recipe import with_margin as with_margin
from .objective import Objective as Objective
from .start import RunInfo as RunInfo
