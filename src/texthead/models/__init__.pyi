"""The public names of the package, imported on first use."""

from .build import make_head as make_head
from .build import make_temporal_for as make_temporal_for
from .build import needs_features as needs_features
from .head_rows import RowInputs as RowInputs
from .head_rows import RowKind as RowKind
from .head_rows import class_correlation as class_correlation
from .head_rows import familiarity_scaled_rows as familiarity_scaled_rows
from .head_rows import prompt_rows as prompt_rows
from .head_rows import text_rows as text_rows
from .head_table import as_head as as_head
from .heads import CosineHead as CosineHead
from .heads import Head as Head
from .heads import ProbeHead as ProbeHead
from .heads import empty_options as empty_options
from .temporal import EncoderConv as EncoderConv
from .temporal import Temporal as Temporal
from .temporal import make_temporal as make_temporal
