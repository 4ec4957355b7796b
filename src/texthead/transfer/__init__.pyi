"""The public names of the package, imported on first use."""

from .experiment import QUICK_FRAMES as QUICK_FRAMES
from .experiment import Experiment as Experiment
from .linear_probes import class_center as class_center
from .linear_probes import logistic_head as logistic_head
from .linear_probes import text_evidence as text_evidence
from .linear_probes import text_probe_head as text_probe_head
from .multilabel import multilabel_head as multilabel_head
