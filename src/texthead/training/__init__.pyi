"""The public names of the package, imported on first use."""

from .execution import Execution as Execution
from .execution import RunInfo as RunInfo
from .fit_recipe import with_margin as with_margin
from .matching import matching_loss as matching_loss
from .train import train as train
