"""The public names of the package, imported on first use."""

from .folder import CALIBRATION as CALIBRATION
from .folder import ENCODER as ENCODER
from .folder import HERE as HERE
from .folder import classes_json as classes_json
from .folder import rows_digest as rows_digest
from .folder import write_run as write_run
from .metrics import read_records as read_records
from .saved import check_run as check_run
from .saved import is_run as is_run
from .saved import saved_classes as saved_classes
from .scores import read_scores as read_scores
