"""What a page asks of a model: the best names of a file as `predict` gives them, when each is there, and where.

Plain functions and values: there is no page in them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from texthead.encoders.encoder import Encoder, as_visual
from texthead.encoders.load import load_encoder, zero_shot_note
from texthead.errors import DataError, MediaError, TextheadError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.saliency import cover
from texthead.features.reading import Reading
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.media.open import open_media
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.device import pick_device
from texthead.prediction.events import Event, EventFinder, Hysteresis, Stretch, in_order
from texthead.prediction.predict import Prediction, calibration_for, predict, protocol_of, zero_shot
from texthead.prediction.timeline import Sliding, open_timed, scores_over_time
from texthead.recipes import EngineName
from texthead.report.mistakes import FAINT, clip_of
from texthead.runs.hub import shown
from texthead.runs.run import Run, load_run
from texthead.text.class_names import clean_names
from texthead.text.prompts import class_prompts, flat

TOP = 5

LANES = 6


@dataclass(frozen=True)
class Limits:
    """What one question may hold: seconds and frames of a video, class names, and megapixels as `Reading` has them."""

    seconds: float = 300.0
    frames: int = 20_000
    names: int = 500
    most_megapixels: int = MOST_MEGAPIXELS


@dataclass(frozen=True)
class ModelSource:
    """What a model is loaded from: a run, or an encoder for names alone; and how new names become prompts.

    `allow_download` says whether the encoder that the run names may be downloaded.
    """

    run: str | None = None
    allow_download: bool = False
    encoder: str = "mini"
    template: str | tuple[str, ...] | None = None
    clean: bool = True
    device: str = "auto"
    engine: EngineName = "auto"


class About(NamedTuple):
    """What is loaded: what to call it, and the classes that it has by itself (none without a run)."""

    title: str
    names: tuple[str, ...]


class Question(NamedTuple):
    """A file, the names to choose from (none: the run's own), and what is asked of them."""

    path: Path
    names: tuple[str, ...] = ()
    part: Literal["names", "when", "where"] = "names"


class Named(NamedTuple):
    """The best names of a file, its seconds and frames (0 and 1 of a picture), and the prompts behind all names.

    `notes` are what must be known of such an answer; `calibration` is what of the run's holds for it.
    """

    found: Prediction
    seconds: float
    frames: int
    prompts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None


class Timed(NamedTuple):
    """When the names are there: events by their start, and the probabilities (0-1) of the names with most to show.

    Times of none of the names stand among the events. Row i of `scores` is from where row i - 1 ends to `ends[i]`
    seconds.
    """

    events: tuple[Event, ...]
    names: tuple[str, ...]
    ends: Float[np.ndarray, " stretches"]
    scores: Float[np.ndarray, "stretches names"]
    sliding: Sliding
    rule: Hysteresis


class Lit(NamedTuple):
    """Where in its frames the best name comes from: heat 0-1, and its probability without and with the hottest covered.

    `faint`: no region takes enough from it for the heat to say something.
    """

    name: str
    frames: UInt8[np.ndarray, "frames height width 3"]
    heat: Float[np.ndarray, "frames rows columns"]
    before: float
    after: float
    faint: bool


Answer = About | Named | Timed | Lit | TextheadError


class Answerer:
    """A model that answers questions. An error is returned and not raised, since another process asks."""

    def __init__(self, source: ModelSource, limits: Limits):
        device = pick_device(source.device)
        self._source, self._limits = source, limits
        self._run = None if source.run is None else load_run(source.run, allow_download=source.allow_download)
        if self._run is not None:
            self._run.model.to(device)
        self._device = device
        self._last: tuple[tuple[str, ...], Run | Recognizer] | None = None

    def __call__(self, question: Question | None) -> Answer:
        """Return the answer; with no question, what is loaded."""
        if question is None:
            return self.about()
        try:
            seconds, frames = measured(question.path, self._limits)
            if question.part == "names":
                return self.named(question, seconds, frames)
            return self.timed(question) if question.part == "when" else self.lit(question, frames)
        except MediaError as error:
            return DataError(f"{question.path.name}: {error.problem}")
        except TextheadError as error:
            return error

    def about(self) -> About:
        """Return what is loaded; without a run, load the encoder, so that the first question need not wait for it."""
        if self._run is None:
            return About(f"{self._encoder.source}, without training", ())
        return About(f"run {shown(self._run.folder).rpartition('/')[2]}", self._run.labels)

    def named(self, question: Question, seconds: float, frames: int) -> Named:
        """Return the best names of the file, of this length.

        Raises:
            MediaError: it cannot be read.
            TextheadError: the names cannot be classes.
        """
        model = self.model(question.names)
        reading = Reading(engine=self._source.engine, most_megapixels=self._limits.most_megapixels)
        (found,) = predict(model, [question.path], reading=reading, top=TOP)
        recognizer = model.model if isinstance(model, Run) else model
        prompts = getattr(recognizer.head, "prompts", None) or ()
        calibration, _ = calibration_for(model, protocol_of(model)[1])
        notes = self._notes(recognizer) if question.names else ()
        return Named(found, seconds, frames, tuple(flat(prompts)), notes, calibration)

    def _notes(self, model: Recognizer) -> tuple[str, ...]:
        """Return notes on an answer among typed names."""
        lost = [] if self._run is None else self._run.lost_by_other_classes()
        known = zero_shot_note(as_visual(model.visual).spec.source, model.names)
        return (*lost, *([known] if known else []))

    def timed(self, question: Question) -> Timed:
        """Return when each name is there, as `timeline` finds it by default.

        Raises:
            MediaError: the file is no video, or cannot be read to its end.
        """
        model, sliding, rule = self.model(question.names), Sliding(), Hysteresis()
        names = protocol_of(model)[0].names
        finder, events, stretches = EventFinder(names, rule), [], []
        with open_timed(question.path, self._limits.most_megapixels) as video:
            for stretch in scores_over_time(model, video, sliding=sliding, engine=self._source.engine):
                events += finder.add(stretch)
                stretches.append(stretch)
        return _timed(in_order(events + finder.finish()), stretches, names, sliding, rule)

    def lit(self, question: Question, length: int) -> Lit:
        """Return where in its frames the best name of the file, of `length` frames, comes from.

        Raises:
            MediaError: it cannot be read.
        """
        asked = self.model(question.names)
        model, protocol = protocol_of(asked)
        calibration, _ = calibration_for(asked, protocol)
        clip = clip_of(question.path, protocol, self._limits.most_megapixels)
        if length == 1 and isinstance(model.temporal, MeanPool):
            clip = clip[:1]  # The mean of a picture over and over is that of one, and covering one of many does little.
        seen = cover(model, clip, engine=self._source.engine)
        if calibration is not None:
            seen = seen.at_temperature(calibration.temperature)
        place = int(seen.plain.argmax())
        heat = seen.heat(place)
        shown = [int(heat.amax((-2, -1)).argmax())] if length == 1 else [*range(len(clip))]
        frames = clip[shown].permute(0, 2, 3, 1).contiguous().numpy()
        faint = seen.strength(place) < FAINT
        return Lit(model.names[place], frames, heat[shown].numpy(), *seen.probabilities(place), faint)

    def model(self, names: tuple[str, ...]) -> Run | Recognizer:
        """Return the run with its own classes or those named, or a model of the names alone; the last one is kept.

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
        encoder, template = self._encoder, self._source.template
        if self._run is not None:
            return self._run.with_classes(labels, names=names, template=template, encoder=encoder)
        prompts = class_prompts(template or "{}", names, [None] * len(names))
        return zero_shot(encoder, names, labels=labels, prompts=prompts).to(self._device)

    @cached_property
    def _encoder(self) -> Encoder:
        """The encoder with its text half, which stays in memory."""
        if self._run is None:
            return load_encoder(self._source.encoder, keep_text=True)
        return self._run.encoder(keep_text=True)


def measured(path: Path, limits: Limits) -> tuple[float, int]:
    """Return (seconds, frames) of a video, or (0, 1) of a picture.

    Raises:
        MediaError: the file cannot be read, or is longer than the limits say.
    """
    with open_media(path, limits.most_megapixels) as media:
        seconds = media.duration_seconds
        if seconds > limits.seconds:
            problem = f"{seconds:.0f} s long, and this page takes videos of {limits.seconds:g} s: cut a part out of it"
            raise MediaError(path, problem)
        if media.num_frames > limits.frames:
            problem = f"{media.num_frames} frames, and this page takes {limits.frames}: cut a part out of it"
            raise MediaError(path, problem)
        return seconds, media.num_frames


def _timed(
    events: list[Event], stretches: list[Stretch], names: tuple[str, ...], sliding: Sliding, rule: Hysteresis
) -> Timed:
    """Return the timeline of up to `LANES` names: those with the longest events, then those with the highest scores."""
    scores = np.array([stretch.scores for stretch in stretches], np.float32)
    known = [event for event in events if event.known]
    seconds = [sum(event.end - event.start for event in known if event.name == name) for name in names]
    order = sorted(range(len(names)), key=lambda i: (-seconds[i], -float(scores[:, i].max())))[:LANES]
    ends = np.array([stretch.end for stretch in stretches], np.float32)
    return Timed(tuple(events), tuple(names[i] for i in order), ends, scores[:, order], sliding, rule)
