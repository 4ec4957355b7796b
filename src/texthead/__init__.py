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
MeanPool, TemporalTransformer, AttentivePool, TemporalConv, TokenConv
Matching, matching_loss                  texts of a batch instead of all classes, to compare with
Protocol, Reading, Views, average_views, encode_items, FeatureCache, mean_average_precision
order_test                               does an answer need the order of frames

`__init__.pyi` is the table of the public names; each is loaded when it is first used, since most import torch.
"""

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Return a public name, imported on first use, or `__version__`, that of the installed package."""
    if name != "__version__":
        return _public(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("texthead")
    except PackageNotFoundError:
        return "0+not.installed"
