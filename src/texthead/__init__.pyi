"""The public names, and where each lives."""

from . import recipes as recipes
from .apps.doctor.examine import diagnose as diagnose
from .apps.estimator.estimator import TextHeadClassifier as TextHeadClassifier
from .apps.export.export import export as export
from .apps.export.upload import push_to_hub as push_to_hub
from .apps.label.labelling import label_pool as label_pool
from .apps.search.index import open_index as open_index
from .apps.search.search import search as search
from .apps.timeline.timeline import find_events as find_events
from .data.dataset import Dataset as Dataset
from .data.dataset import Item as Item
from .data.prepare import ShardOptions as ShardOptions
from .data.prepare import prepare as prepare
from .data.protocol import Protocol as Protocol
from .data.protocol import Views as Views
from .data.reading import read_dataset as read_dataset
from .encoders.encoder import Encoder as Encoder
from .encoders.encoder import VisualEncoder as VisualEncoder
from .encoders.load import EncoderOptions as EncoderOptions
from .encoders.load import load_encoder as load_encoder
from .encoders.spec import VisualSpec as VisualSpec
from .errors import TextheadError as TextheadError
from .evaluation.calibration import Calibration as Calibration
from .features.frozen import FrozenEncoder as FrozenEncoder
from .features.reading import ReadOptions as ReadOptions
from .models.head_rows import lda_weights as lda_weights
from .models.head_rows import text_weights as text_weights
from .models.heads import FrozenHead as FrozenHead
from .models.heads import LinearHead as LinearHead
from .models.heads import TrainableHead as TrainableHead
from .models.heads import text_head as text_head
from .models.recognizer import Recognizer as Recognizer
from .models.temporal import AttentivePool as AttentivePool
from .models.temporal import MeanPool as MeanPool
from .models.temporal import TemporalTransformer as TemporalTransformer
from .parallel.progress import Reporter as Reporter
from .prediction.load import load_run as load_run
from .prediction.load import zero_shot as zero_shot
from .prediction.run import Run as Run
from .prediction.run_training import train as train
from .recipes import Recipe as Recipe
from .training.train import fine_tune as fine_tune
from .transfer.comparison import compare as compare

__version__: str
