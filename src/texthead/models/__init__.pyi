"""The public names of the package, imported on first use."""

from .build import make_head as make_head
from .build import make_temporal_for as make_temporal_for
from .head_rows import RowInputs as RowInputs
from .head_rows import RowKind as RowKind
from .head_table import as_head as as_head
from .heads import CosineHead as CosineHead
from .heads import Head as Head
from .heads import ProbeHead as ProbeHead
from .temporal import Temporal as Temporal
