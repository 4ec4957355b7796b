"""The public names of the package, imported on first use."""

from .predictions import Prediction as Prediction
from .predictions import entry_scores as entry_scores
from .predictions import json_entry as json_entry
from .predictions import predictions_of as predictions_of
from .run import Edit as Edit
