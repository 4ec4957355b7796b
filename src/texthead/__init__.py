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
Views, average_views, encode_items, FeatureCache, mean_average_precision
order_test                               does an answer need the order of frames

The public names; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from texthead import recipes as recipes
    from texthead.calibration import Calibration as Calibration
    from texthead.calibration import calibrate as calibrate
    from texthead.class_edits import add_classes as add_classes
    from texthead.class_edits import merge_classes as merge_classes
    from texthead.class_edits import remove_classes as remove_classes
    from texthead.class_edits import rename_class as rename_class
    from texthead.class_edits import save_classes as save_classes
    from texthead.datasets import Dataset as Dataset
    from texthead.datasets import Item as Item
    from texthead.datasets import read_dataset as read_dataset
    from texthead.encoders import load_encoder as load_encoder
    from texthead.errors import TextheadError as TextheadError
    from texthead.estimator import TextHeadClassifier as TextHeadClassifier
    from texthead.evaluation import average_views as average_views
    from texthead.evaluation import evaluate as evaluate
    from texthead.evaluation import mean_average_precision as mean_average_precision
    from texthead.events import Hysteresis as Hysteresis
    from texthead.exporting import export as export
    from texthead.features import FeatureCache as FeatureCache
    from texthead.frame_order import order_test as order_test
    from texthead.heads import FrozenHead as FrozenHead
    from texthead.heads import LinearHead as LinearHead
    from texthead.heads import TemplatesHead as TemplatesHead
    from texthead.heads import TrainableHead as TrainableHead
    from texthead.heads import class_correlation as class_correlation
    from texthead.heads import lda_weights as lda_weights
    from texthead.heads import orthogonal_weights as orthogonal_weights
    from texthead.heads import random_weights as random_weights
    from texthead.heads import text_head as text_head
    from texthead.heads import text_rows as text_rows
    from texthead.heads import text_weights as text_weights
    from texthead.matching import Matching as Matching
    from texthead.matching import matching_loss as matching_loss
    from texthead.parts import open_parts as open_parts
    from texthead.parts import predict_parts as predict_parts
    from texthead.prediction import predict as predict
    from texthead.prompt_head import PromptHead as PromptHead
    from texthead.ray_parts import predict_on_ray as predict_on_ray
    from texthead.recipes import Recipe as Recipe
    from texthead.recognizer import Recognizer as Recognizer
    from texthead.reliability import expected_calibration_error as expected_calibration_error
    from texthead.runs import load_run as load_run
    from texthead.runs import save_calibration as save_calibration
    from texthead.sampling import Views as Views
    from texthead.shards import ShardOptions as ShardOptions
    from texthead.shards import prepare as prepare
    from texthead.temporal import MeanPool as MeanPool
    from texthead.temporal import TemporalConv as TemporalConv
    from texthead.temporal import TemporalTransformer as TemporalTransformer
    from texthead.temporal import TokenConv as TokenConv
    from texthead.timeline import Sliding as Sliding
    from texthead.timeline import Timeline as Timeline
    from texthead.timeline import find_events as find_events
    from texthead.towers import Encoder as Encoder
    from texthead.towers import Visual as Visual
    from texthead.towers import VisualSpec as VisualSpec
    from texthead.training import train as train
    from texthead.view_features import encode_items as encode_items

__version__ = "0.1.0"

_HOMES = {
    "Calibration": "calibration",
    "Dataset": "datasets",
    "Encoder": "towers",
    "FeatureCache": "features",
    "FrozenHead": "heads",
    "Hysteresis": "events",
    "Item": "datasets",
    "LinearHead": "heads",
    "Matching": "matching",
    "MeanPool": "temporal",
    "PromptHead": "prompt_head",
    "Recipe": "recipes",
    "Recognizer": "recognizer",
    "ShardOptions": "shards",
    "Sliding": "timeline",
    "TemplatesHead": "heads",
    "TemporalConv": "temporal",
    "TemporalTransformer": "temporal",
    "TextHeadClassifier": "estimator",
    "TextheadError": "errors",
    "Timeline": "timeline",
    "TokenConv": "temporal",
    "TrainableHead": "heads",
    "Views": "sampling",
    "Visual": "towers",
    "VisualSpec": "towers",
    "add_classes": "class_edits",
    "average_views": "evaluation",
    "calibrate": "calibration",
    "class_correlation": "heads",
    "encode_items": "view_features",
    "evaluate": "evaluation",
    "find_events": "timeline",
    "expected_calibration_error": "reliability",
    "export": "exporting",
    "lda_weights": "heads",
    "load_encoder": "encoders",
    "load_run": "runs",
    "matching_loss": "matching",
    "mean_average_precision": "evaluation",
    "merge_classes": "class_edits",
    "open_parts": "parts",
    "order_test": "frame_order",
    "orthogonal_weights": "heads",
    "predict": "prediction",
    "predict_on_ray": "ray_parts",
    "predict_parts": "parts",
    "prepare": "shards",
    "random_weights": "heads",
    "read_dataset": "datasets",
    "remove_classes": "class_edits",
    "rename_class": "class_edits",
    "save_calibration": "runs",
    "save_classes": "class_edits",
    "text_head": "heads",
    "text_rows": "heads",
    "text_weights": "heads",
    "train": "training",
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
