"""The public names of the package, imported on first use."""

from .calibration import NONE as NONE
from .calibration import Unknown as Unknown
from .calibration import calibrate as calibrate
from .calibration import fit_temperature as fit_temperature
from .evaluate import average_views as average_views
from .evaluate import evaluate as evaluate
from .evaluate import head_scores as head_scores
from .intervals import grouped_interval as grouped_interval
from .intervals import lead_interval as lead_interval
from .intervals import standard_error as standard_error
from .results import Evaluation as Evaluation
