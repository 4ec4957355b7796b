"""Image and video classifiers from class names and a few labels; the embeddings of the names are the weights.

read_dataset, train, load_run            labelled files -> a run
zero_shot                                class names -> a run
Run                                      predicts files, and is scored, calibrated and reported
compare, diagnose                        what the commands of these names do
prepare, ShardOptions                    decode videos once into shards that load fast
find_events                              locate events in a video
open_index, search                       search a folder of videos and images by words or by example
label_pool                               which files to label next
export, push_to_hub                      write a run as a folder that predicts without texthead; upload it to a hub
TextHeadClassifier                       a scikit-learn estimator that takes media files
encoders_here, choose_encoder            encoders on this machine, and the best of them for labelled files
load_encoder, text_head, Recognizer      load an encoder; make a head of text embeddings; assemble the model
fine_tune                                train a model that you assembled
recipes                                  functions that return all hyper-parameters
EncoderOptions                           an encoder with its template and device, for compare, train, label_pool ...
FrozenHead, TrainableHead, LinearHead    the first two take weight rows of your own
text_weights, lda_weights                rows of a head
MeanPool, TemporalTransformer, AttentivePool
Protocol, Views, ReadOptions             how items are looked at, and how files are read
FrozenEncoder                            features of files, for heads of your own

`__init__.pyi` lists the public names. Each is imported on first use, since most import torch.
"""

import os
from types import FunctionType

import lazy_loader

# onnxruntime contacts a telemetry address when it is imported, and writes a device id below ~/.cache. It reads this
# variable at that moment only; child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Return a public name, imported on first use, or `__version__`, that of the installed package.

    Public functions check the types of their arguments, and leave the caller's random state and environment alone.
    """
    if name != "__version__":
        value = _public(name)
        if isinstance(value, FunctionType):
            from texthead.errors import checked
            from texthead.parallel.caller import apart_from_caller

            value = apart_from_caller()(checked(value))
            value.__module__ = __name__  # Where pickle finds it.
            globals()[name] = value
        return value
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("texthead")
    except PackageNotFoundError:
        return "0+not.installed"
