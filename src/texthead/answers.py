"""What a page asks of a model: the best names of one file, as `predict` gives them; plain functions, no page in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from texthead.decoding import Video, open_media
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError, MediaError, TextheadError
from texthead.prediction import Prediction, predict, zero_shot
from texthead.prompts import class_prompts, clean_names, flat
from texthead.recognizer import Recognizer
from texthead.runs import Run, load_run
from texthead.terminal import pick_device
from texthead.towers import Encoder, as_visual

TOP = 5


@dataclass(frozen=True)
class Limits:
    """What one question may hold: seconds and frames of a video, and class names beside each other."""

    seconds: float = 300.0
    frames: int = 20_000
    names: int = 500


@dataclass(frozen=True)
class Source:
    """What a model is loaded from: a run, or an encoder for names alone; and how new names become prompts."""

    run: str | None = None
    encoder: str = "mini"
    template: str | tuple[str, ...] | None = None
    clean: bool = True
    device: str = "auto"


class About(NamedTuple):
    """What is loaded: what to call it, and the classes that it has by itself (none without a run)."""

    title: str
    names: tuple[str, ...]


class Question(NamedTuple):
    """A file, and the names to choose from; none: the run's own."""

    path: Path
    names: tuple[str, ...] = ()


class Named(NamedTuple):
    """The best names of a file; seconds and frames of a video (0 and 1 of a picture); what was read behind the names."""

    found: Prediction
    seconds: float
    frames: int
    prompts: tuple[str, ...]
    note: str | None


class Answerer:
    """A model that answers questions; what is wrong with one comes back as the answer, for it goes to another process."""

    def __init__(self, source: Source, limits: Limits):
        device = pick_device(source.device)
        self._source, self._limits = source, limits
        self._run = None if source.run is None else load_run(source.run)
        if self._run is not None:
            self._run.model.to(device)
        self._encoder: Encoder | None = None
        self._device = device
        self._last: tuple[tuple[str, ...], Run | Recognizer] | None = None

    def __call__(self, question: Question | None) -> About | Named | TextheadError:
        """The answer; with no question, what is loaded."""
        if question is None:
            return self.about()
        try:
            return self.named(question)
        except MediaError as error:
            return DataError(f"{question.path.name}: {error.problem}")
        except TextheadError as error:
            return error

    def about(self) -> About:
        """What is loaded; without a run the encoder is, so that the first question need not wait for it."""
        if self._run is None:
            return About(f"{self._loaded_encoder().source}, without training", ())
        return About(f"run {self._run.folder.name}", self._run.labels)

    def named(self, question: Question) -> Named:
        """The best names of the file.

        Raises:
            MediaError: it cannot be read, or is longer than the limits say.
            TextheadError: the names cannot be classes.
        """
        seconds, frames = measured(question.path, self._limits)
        model = self.model(question.names)
        (found,) = predict(model, [question.path], top=TOP)
        recognizer = model.model if isinstance(model, Run) else model
        prompts = getattr(recognizer.head, "prompts", None) or ()
        note = zero_shot_note(as_visual(recognizer.visual).spec.source) if question.names else None
        return Named(found, seconds, frames, tuple(flat(prompts)), note)

    def model(self, names: tuple[str, ...]) -> Run | Recognizer:
        """The run with its own classes or those named, or a model of the names alone; the last one is kept.

        Raises:
            TextheadError: the names cannot be classes, or are missing.
        """
        if not names and self._run is not None:
            return self._run
        if not names:
            raise DataError("type the names to choose from: this page has no run with classes of its own")
        if len(names) > self._limits.names:
            raise DataError(f"{len(names)} class names: this page takes {self._limits.names}, name fewer")
        if self._last is None or self._last[0] != names:
            self._last = names, self._with_names(names)
        return self._last[1]

    def _with_names(self, labels: tuple[str, ...]) -> Run | Recognizer:
        names = clean_names(labels) if self._source.clean else list(labels)
        encoder, template = self._loaded_encoder(), self._source.template
        if self._run is not None:
            return self._run.with_classes(labels, names=names, template=template, encoder=encoder)
        prompts = class_prompts(template or "{}", names, [None] * len(names))
        return zero_shot(encoder, names, labels=labels, prompts=prompts).to(self._device)

    def _loaded_encoder(self) -> Encoder:
        """The encoder with its text half, which stays in memory."""
        if self._encoder is None:
            run = self._run
            self._encoder = (
                load_encoder(self._source.encoder, keep_text=True) if run is None else run.encoder(keep_text=True)
            )
        return self._encoder


def measured(path: Path, limits: Limits) -> tuple[float, int]:
    """(seconds, frames) of a video, or (0, 1) of a picture.

    Raises:
        MediaError: the file cannot be read, or is longer than the limits say.
    """
    with open_media(path) as media:
        seconds = media.duration_seconds if isinstance(media, Video) else 0.0
        if seconds > limits.seconds:
            problem = f"{seconds:.0f} s long, and this page takes videos of {limits.seconds:g} s: cut a part out of it"
            raise MediaError(path, problem)
        if media.num_frames > limits.frames:
            problem = f"{media.num_frames} frames, and this page takes {limits.frames}: cut a part out of it"
            raise MediaError(path, problem)
        return seconds, media.num_frames
