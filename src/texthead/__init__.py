"""Class names in, recogniser out.

load_encoder, text_head, Recognizer      an encoder; text rows as the classifier; the model
read_dataset, train, load_run, evaluate, predict
prepare, ShardOptions                    decode once: clips in shards that read fast
find_events, Timeline, Sliding, Hysteresis    when it happens: events in a video, or in frames as they come
open_parts, predict_parts                millions of files, by any number of processes; predict_on_ray
recipes                                  every hyper-parameter, as functions
export                                   a run as a folder that predicts without texthead
TextHeadClassifier                       a scikit-learn estimator of files
FrozenHead, TrainableHead, LinearHead    rows of your own go into the first two
TemplatesHead, PromptHead                several templates; a learnable one
add_classes, rename_class, remove_classes, merge_classes, save_classes
text_weights, text_rows, random_weights, orthogonal_weights, lda_weights, class_correlation
MeanPool, TemporalTransformer, TemporalConv, TokenConv
Matching, matching_loss                  texts of a batch instead of all classes, to compare with
Protocol, Reading, Views, average_views, encode_items, FeatureCache, mean_average_precision
order_test                               does an answer need the order of frames

The public names; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from texthead import recipes as recipes
    from texthead.data.dataset import Dataset as Dataset
    from texthead.data.dataset import Item as Item
    from texthead.data.prepare import ShardOptions as ShardOptions
    from texthead.data.prepare import prepare as prepare
    from texthead.data.protocol import Protocol as Protocol
    from texthead.data.protocol import Views as Views
    from texthead.data.reading import read_dataset as read_dataset
    from texthead.encoders.encoder import Encoder as Encoder
    from texthead.encoders.encoder import Visual as Visual
    from texthead.encoders.encoder import VisualSpec as VisualSpec
    from texthead.encoders.load import load_encoder as load_encoder
    from texthead.errors import TextheadError as TextheadError
    from texthead.evaluation.calibration import Calibration as Calibration
    from texthead.evaluation.calibration import calibrate as calibrate
    from texthead.evaluation.evaluate import average_views as average_views
    from texthead.evaluation.evaluate import evaluate as evaluate
    from texthead.evaluation.evaluate import mean_average_precision as mean_average_precision
    from texthead.evaluation.frame_order import order_test as order_test
    from texthead.evaluation.reliability import expected_calibration_error as expected_calibration_error
    from texthead.exporting.export import export as export
    from texthead.features.cache import FeatureCache as FeatureCache
    from texthead.features.reading import Reading as Reading
    from texthead.features.views import encode_items as encode_items
    from texthead.models.head_rows import class_correlation as class_correlation
    from texthead.models.head_rows import lda_weights as lda_weights
    from texthead.models.head_rows import orthogonal_weights as orthogonal_weights
    from texthead.models.head_rows import random_weights as random_weights
    from texthead.models.head_rows import text_rows as text_rows
    from texthead.models.head_rows import text_weights as text_weights
    from texthead.models.heads import FrozenHead as FrozenHead
    from texthead.models.heads import LinearHead as LinearHead
    from texthead.models.heads import TemplatesHead as TemplatesHead
    from texthead.models.heads import TrainableHead as TrainableHead
    from texthead.models.heads import text_head as text_head
    from texthead.models.prompt_head import PromptHead as PromptHead
    from texthead.models.recognizer import Recognizer as Recognizer
    from texthead.models.temporal import MeanPool as MeanPool
    from texthead.models.temporal import TemporalConv as TemporalConv
    from texthead.models.temporal import TemporalTransformer as TemporalTransformer
    from texthead.models.temporal import TokenConv as TokenConv
    from texthead.prediction.bulk import PartOptions as PartOptions
    from texthead.prediction.bulk import open_parts as open_parts
    from texthead.prediction.bulk import predict_parts as predict_parts
    from texthead.prediction.bulk_on_ray import predict_on_ray as predict_on_ray
    from texthead.prediction.events import Hysteresis as Hysteresis
    from texthead.prediction.predict import predict as predict
    from texthead.prediction.timeline import Sliding as Sliding
    from texthead.prediction.timeline import Timeline as Timeline
    from texthead.prediction.timeline import find_events as find_events
    from texthead.recipes import Recipe as Recipe
    from texthead.runs.class_edits import add_classes as add_classes
    from texthead.runs.class_edits import merge_classes as merge_classes
    from texthead.runs.class_edits import remove_classes as remove_classes
    from texthead.runs.class_edits import rename_class as rename_class
    from texthead.runs.class_edits import save_classes as save_classes
    from texthead.runs.run import load_run as load_run
    from texthead.runs.run import save_calibration as save_calibration
    from texthead.training.execution import Callbacks as Callbacks
    from texthead.training.execution import Execution as Execution
    from texthead.training.execution import RunInfo as RunInfo
    from texthead.training.matching import Matching as Matching
    from texthead.training.matching import matching_loss as matching_loss
    from texthead.training.train import train as train
    from texthead.transfer.estimator import TextHeadClassifier as TextHeadClassifier

__version__ = "0.1.0"

_HOMES = {
    "Calibration": "evaluation.calibration",
    "Callbacks": "training.execution",
    "Dataset": "data.dataset",
    "Encoder": "encoders.encoder",
    "Execution": "training.execution",
    "FeatureCache": "features.cache",
    "FrozenHead": "models.heads",
    "Hysteresis": "prediction.events",
    "Item": "data.dataset",
    "LinearHead": "models.heads",
    "Matching": "training.matching",
    "MeanPool": "models.temporal",
    "PartOptions": "prediction.bulk",
    "PromptHead": "models.prompt_head",
    "Protocol": "data.protocol",
    "Reading": "features.reading",
    "Recipe": "recipes",
    "Recognizer": "models.recognizer",
    "RunInfo": "training.execution",
    "ShardOptions": "data.prepare",
    "Sliding": "prediction.timeline",
    "TemplatesHead": "models.heads",
    "TemporalConv": "models.temporal",
    "TemporalTransformer": "models.temporal",
    "TextHeadClassifier": "transfer.estimator",
    "TextheadError": "errors",
    "Timeline": "prediction.timeline",
    "TokenConv": "models.temporal",
    "TrainableHead": "models.heads",
    "Views": "data.protocol",
    "Visual": "encoders.encoder",
    "VisualSpec": "encoders.encoder",
    "add_classes": "runs.class_edits",
    "average_views": "evaluation.evaluate",
    "calibrate": "evaluation.calibration",
    "class_correlation": "models.head_rows",
    "encode_items": "features.views",
    "evaluate": "evaluation.evaluate",
    "expected_calibration_error": "evaluation.reliability",
    "export": "exporting.export",
    "find_events": "prediction.timeline",
    "lda_weights": "models.head_rows",
    "load_encoder": "encoders.load",
    "load_run": "runs.run",
    "matching_loss": "training.matching",
    "mean_average_precision": "evaluation.evaluate",
    "merge_classes": "runs.class_edits",
    "open_parts": "prediction.bulk",
    "order_test": "evaluation.frame_order",
    "orthogonal_weights": "models.head_rows",
    "predict": "prediction.predict",
    "predict_on_ray": "prediction.bulk_on_ray",
    "predict_parts": "prediction.bulk",
    "prepare": "data.prepare",
    "random_weights": "models.head_rows",
    "read_dataset": "data.reading",
    "remove_classes": "runs.class_edits",
    "rename_class": "runs.class_edits",
    "save_calibration": "runs.run",
    "save_classes": "runs.class_edits",
    "text_head": "models.heads",
    "text_rows": "models.head_rows",
    "text_weights": "models.head_rows",
    "train": "training.train",
}

__all__ = ["recipes", *sorted(_HOMES)]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    # The modules of the names import torch; `import texthead` and `texthead --help` do without it.
    if name == "recipes":
        return import_module("texthead.recipes")
    if name not in _HOMES:
        raise AttributeError(f"module 'texthead' has no attribute {name!r}")
    return getattr(import_module(f"texthead.{_HOMES[name]}"), name)
