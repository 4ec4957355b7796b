"""The public names of the package, imported on first use."""

from .cache import software_key as software_key
from .clips import encode as encode
from .engine import Engine as Engine
from .engine import quiet as quiet
from .frozen import FrozenItems as FrozenItems
from .reading import check_any as check_any
from .reading import readable as readable
from .views import item_features as item_features
