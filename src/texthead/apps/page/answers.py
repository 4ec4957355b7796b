"""Answers to the page's questions about a file: top classes and their times. No HTML here."""

from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import texthead as th
from texthead import Calibration, Encoder, ReadOptions, Run, load_encoder, load_run, zero_shot
from texthead.apps.timeline import Events, Sliding
from texthead.cli import notes_on_names
from texthead.errors import DataError, MediaError
from texthead.media import MediaPath
from texthead.parallel import pick_device
from texthead.prediction import Prediction
from texthead.text import clean_names, flat

TOP = 5

LANES = 6


class About(NamedTuple):
    """The loaded model: its title and its own classes (none without a run)."""

    title: str
    names: tuple[str, ...]


class Question(NamedTuple):
    """A file, the class names (the run's if empty), and whether to answer with times, not top classes."""

    path: Path
    names: tuple[str, ...] = ()
    times: bool = False


class TopClasses(NamedTuple):
    """The top classes of a file, its seconds and frames (0 and 1 for an image), and the prompts of all classes.

    `notes` are caveats; `calibration` has the valid parts of the run's calibration.
    """

    prediction: Prediction
    seconds: float
    frames: int
    prompts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None


class VideoEvents(NamedTuple):
    """The events of a video, and the probabilities (0-1) over time of the most relevant classes.

    Row i of `scores` lasts from `ends[i - 1]` to `ends[i]` seconds.
    """

    events: Events
    names: tuple[str, ...]
    ends: Float[np.ndarray, " intervals"]
    scores: Float[np.ndarray, "intervals names"]


Answer = About | TopClasses | VideoEvents


class Answerer:
    """A model that answers questions, in a process of its own.

    Args:
        run: a run; None for an encoder without training.
        encoder: the encoder without a run; None for `mini`.
    """

    def __init__(self, run: str | None, encoder: str | None, device: str):
        self._source, self._device = encoder or "mini", pick_device(device)
        self._run = None if run is None else load_run(run).to(self._device)
        self._last: tuple[tuple[str, ...], Run] | None = None

    def __call__(self, question: Question | None) -> Answer:
        """Return the answer; for None, describe the loaded model.

        Raises:
            TextheadError: the file cannot be read, or the names are not valid classes.
        """
        if question is None:
            return self.about()
        try:
            with MediaPath(question.path).open() as media:
                seconds, frames = media.duration_seconds, media.num_frames
            return self.timeline(question) if question.times else self.top_classes(question, seconds, frames)
        except MediaError as error:  # Uploads lie in a temporary folder.
            raise DataError(f"{error.path.name}: {error.problem}") from None

    def about(self) -> About:
        """Describe the loaded model. Without a run, this loads the encoder, so that the first question is fast."""
        if self._run is None:
            return About(f"Encoder {self._encoder.source}, without training", ())
        return About(f"Run {PurePath(self._run.name).name}", self._run.labels)

    def top_classes(self, question: Question, seconds: float, frames: int) -> TopClasses:
        """Return the top classes of the file; `seconds` and `frames` are passed through.

        Raises:
            MediaError: the file cannot be read.
            TextheadError: the names are not valid classes.
        """
        run = self.run_of(question.names)
        at_least = run.usual_level(run.calibration_for(run.protocol)[0])
        (prediction,) = run.predict([question.path], reading=ReadOptions(engine="auto"), top=TOP, at_least=at_least)
        prompts = run.head.prompts or ()
        calibration = run.answering(run.protocol, at_least)
        notes = notes_on_names(run, self._run) if question.names else ()
        return TopClasses(prediction, seconds, frames, tuple(flat(prompts)), tuple(notes), calibration)

    def timeline(self, question: Question) -> VideoEvents:
        """Return the events of the classes, with the defaults of `timeline`.

        Up to `LANES` classes have a curve: those with the longest events, then the highest scores.

        Raises:
            MediaError: the file is not a video, or cannot be read to its end.
        """
        run = self.run_of(question.names)
        events = th.find_events(run, question.path, Sliding(engine="auto"))
        scores = np.array([interval.scores for interval in events.intervals], np.float32)
        seconds = [sum(event.end - event.start for event in events if event.name == name) for name in run.labels]
        order = sorted(range(len(seconds)), key=lambda i: (-seconds[i], -float(scores[:, i].max())))[:LANES]
        ends = np.array([interval.end for interval in events.intervals], np.float32)
        return VideoEvents(events, tuple(run.labels[i] for i in order), ends, scores[:, order])

    def run_of(self, names: tuple[str, ...]) -> Run:
        """Return the run with its own or the given classes, or a zero-shot run; the last one is cached.

        Raises:
            TextheadError: the names are missing, or not valid classes.
        """
        if not names and self._run is not None:
            return self._run
        if not names:
            raise DataError("no class names; type some, because this page has no run with its own classes")
        if self._last is None or self._last[0] != names:
            clean = clean_names(names)
            if self._run is not None:
                run = self._run.with_classes(names, names=clean, encoder=self._encoder)
            else:
                run = zero_shot(names, self._encoder, names=clean).to(self._device)
            self._last = names, run
        return self._last[1]

    @cached_property
    def _encoder(self) -> Encoder:
        """The encoder with its text encoder, kept in memory."""
        if self._run is None:
            return load_encoder(self._source, keep_text=True)
        return self._run.encoder(keep_text=True)
