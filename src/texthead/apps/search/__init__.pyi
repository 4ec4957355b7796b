"""The public names of the package, imported on first use."""

from .finding import find_moments as find_moments
from .index import Index as Index
from .index import open_index as open_index
from .search import Hit as Hit
from .search import Results as Results
from .search import query_row as query_row
from .search import search as search
from .windows import encode_windows as encode_windows
