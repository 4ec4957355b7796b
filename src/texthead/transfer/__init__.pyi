"""The public names of the package, imported on first use."""

from .closed_form import class_center as class_center
from .closed_form import logistic_head as logistic_head
from .closed_form import text_evidence as text_evidence
from .closed_form import text_probe_head as text_probe_head
from .experiment import QUICK_FRAMES as QUICK_FRAMES
from .experiment import Experiment as Experiment
from .multilabel import multilabel_head as multilabel_head
