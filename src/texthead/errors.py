"""The exceptions that users see, and the checks of options, fields and arguments that raise them.

Each message is one line with the value, the rule and the remedy.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from functools import cache, wraps
from numbers import Integral, Real
from operator import is_
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

Fault = Literal["missing", "empty", "unreadable", "sound only", "cut short", "damaged", "changing size"]

# The first two ranges start terminal escape sequences, the last two are bidirectional overrides. Both are escaped, so
# that the name of a file or a class cannot control the terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


# In `rtsp://user:password@camera`, and in what `Path` makes of it, on Windows too.
_PASSWORD = re.compile(r"(:[/\\]{1,2}[^/\\\s:@]*):[^/\\\s]+@")


def without_password(text: str) -> str:
    """Return a text with `***` in place of the passwords of the addresses in it."""
    return _PASSWORD.sub(r"\1:***@", text)


def escaped(text: str) -> str:
    """Escape control characters (as `\\x1b`) and bidirectional overrides (as `\\u202e`).

    Tabs, line feeds and the marks of right-to-left scripts stay.
    """
    return text.translate(_CONTROLS)


def on_one_line(name: object) -> str:
    """Return a text with line breaks as `\\n`: the name of a file or a class cannot add a line to a result."""
    return str(name).replace("\n", "\\n")


def printable(text: str) -> str:
    """Return a text for terminals, pages and reports: `escaped`, and without passwords."""
    return without_password(escaped(text))


def listed(values: Sequence[str], most: int = 8, known: Sequence[str] = ()) -> str:
    """Join the first `most` values and count the rest: `a, b and 3 more`.

    Args:
        known: names; a value that resembles one of them is followed by a question.
    """
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return f"{', '.join(f'{value}{did_you_mean(value, known)}' for value in values[:most])}{more}"


def plural(count: int, word: str) -> str:
    """Return the number with its noun: `1 frame`, `1,200 frames`."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def did_you_mean(word: str, candidates: Sequence[str]) -> str:
    """Return the end of a message on an unknown word: the candidate that is most like it, if any is."""
    near = difflib.get_close_matches(word, candidates, 1)
    return f": did you mean {near[0]}?" if near else ""


def either(values: Sequence[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def in_quotes(value: object) -> str:
    """Return a value for a message. Unlike `repr`, it leaves the backslashes of a path of Windows single."""
    return f"'{value}'" if isinstance(value, str | Path) else repr(value)


def reason(error: BaseException) -> str:
    """Return why an error was raised; one of the system's without its file, whose backslashes `str` doubles."""
    return getattr(error, "strerror", None) or str(error)


def line_of(error: BaseException, most: int = 300, *, kind: bool = False) -> str:
    """Return the message of an error on one line, or the name of its class if it has none.

    Args:
        most: characters of the message that are kept.
        kind: put the class before the message: `KeyError: 'width'`.
    """
    file = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    name, text = type(error).__name__, " ".join(f"{file}{reason(error)}".split())[:most]
    if not text:
        return name
    return f"{name}: {text}" if kind else text


class TextheadError(ValueError):
    """An error that the caller can fix. The command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        # File names and messages of other libraries may contain line breaks.
        return printable(" ".join(super().__str__().splitlines()))


class DataError(TextheadError):
    """A manifest, folder, label, class name or template that breaks a rule."""


class MediaError(TextheadError):
    """A video or image that cannot be read completely.

    `path` is the file, so that callers can skip and list it; `fault` is the kind of problem.
    """

    def __init__(self, path: str | Path, problem: str, fault: Fault = "unreadable"):
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem
        self.fault: Fault = fault

    def __reduce__(self) -> tuple[type["MediaError"], tuple[Path, str, Fault]]:
        # Worker processes pickle these; the default would call MediaError(message).
        return MediaError, (self.path, self.problem, self.fault)


class EncoderError(TextheadError):
    """An encoder that cannot be found or loaded, or a prompt that it cannot encode."""


class RunError(TextheadError):
    """A run folder, checkpoint, recipe or parameter that is invalid or does not match the task."""


class LostWorkerError(RunError):
    """A data-loader worker that has ended."""


@contextmanager
def raising(make: Callable[[str], TextheadError], problem: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn an error of the system or of a value into one of ours: `problem (reason); remedy`. Our own errors pass.

    Args:
        make: returns the error for a message: its class, or with a path `partial(MediaError, path)`.
        kinds: further classes of errors to turn.
    """
    try:
        yield
    except TextheadError:
        raise
    except (OSError, ValueError, *kinds) as cause:
        if isinstance(cause, FileNotFoundError):
            why = "no such file" if cause.strerror else line_of(cause, kind=True)  # Hubs raise it without a file.
        elif isinstance(cause, OSError | ValueError):
            why = " ".join(reason(cause).split())[:300]
        else:
            why = line_of(cause, kind=True)
        raise make(f"{problem} ({why}); {remedy}") from None


@contextmanager
def naming(place: object, kind: type[TextheadError] = DataError) -> Iterator[None]:
    """Raise an error of ours as one of a kind that begins with its place: a file, or a line of it."""
    try:
        yield
    except TextheadError as error:
        raise kind(f"{place}: {error}") from None


# ---- checks


class Rule(NamedTuple):
    """What values of a type must hold, in words, and its test; help shows the words."""

    words: str
    holds: Callable[[Any], object]

    def __repr__(self) -> str:
        return repr(self.words)


NonNegativeInt = Annotated[int, Rule("a whole number, 0 or more", lambda number: number >= 0)]
PositiveInt = Annotated[int, Rule("a whole number, 1 or more", lambda number: number >= 1)]
PositiveFloat = Annotated[float, Rule("a number above 0", lambda number: number > 0)]
Share = Annotated[float, Rule("a number from 0 to 1", lambda number: 0 <= number <= 1)]
OpenShare = Annotated[float, Rule("a number between 0 and 1", lambda number: 0 < number < 1)]

_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
_WORDS |= {tuple: "a list", frozenset: "a list", Mapping: "a mapping", dict: "a mapping"}

# Types of the core and the applications, by name: a path in place of what it names is a common mistake.
_MAKERS = {"Run": "load_run", "Dataset": "read_dataset", "Encoder": "load_encoder", "Index": "open_index"}

_hints = cache(get_type_hints)

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def checked(function: FunctionT) -> FunctionT:
    """Return a function that raises DataError for an argument of another type than its annotation."""
    signature = inspect.signature(function)
    names = [each.name for each in signature.parameters.values() if each.kind is not each.VAR_POSITIONAL]

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        from jaxtyping import jaxtyped

        try:
            given = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # Python's message names the function.
        values = {name: given.arguments[name] for name in names if name in given.arguments}
        with jaxtyped("context"):  # Axes of the same name have the same length.
            given.arguments |= check_types(function, values, DataError)
        return function(*given.args, **given.kwargs)

    return call  # pyright: ignore[reportReturnType]


def check_fields(values: object, error: type[TextheadError] = DataError) -> None:
    """Raise `error` if a field of a dataclass has another type than its annotation.

    NumPy numbers become Python's own, and lists become tuples where tuples are declared.
    """
    for key, value in check_types(type(values), vars(values), error).items():
        object.__setattr__(values, key, value)


class CheckedFields:
    """Base class of dataclasses whose fields have the types of their annotations; else they raise DataError."""

    def __post_init__(self) -> None:
        check_fields(self)


def check_types(kind: Any, values: Mapping[str, Any], error: type[ValueError] = RunError) -> dict[str, Any]:
    """Return values of the fields of a class, or of the arguments of a function, as `converted` does."""
    hints = _hints(kind, include_extras=True)
    return {key: converted(key, values[key], hint, error) for key, hint in hints.items() if key in values}


def check_as_many(**lists: Sequence[object]) -> None:
    """Raise DataError unless lists have the same length."""
    if len({*map(len, lists.values())}) > 1:
        counts = " and ".join(f"{len(values)} in `{name}`" for name, values in lists.items())
        raise DataError(f"got {counts}: pass as many of each")


def from_json(kind: Any, values: Mapping[str, Any]) -> Any:
    """Return a JSON object as a NamedTuple or dataclass, and the objects in it as those of its fields.

    Raises:
        RunError: a value is missing, or has another type.
    """
    hints, made = get_type_hints(kind), {}
    if missing := sorted(hints.keys() - values.keys()):
        raise RunError(f"lacks {missing[0]!r}")
    for name, hint in hints.items():
        value, inner = values[name], (*get_args(hint), hint)[0]  # A record, or a record or None.
        is_record = isinstance(value, Mapping) and hasattr(inner, "__annotations__")
        made[name] = from_json(inner, value) if is_record else converted(name, value, hint, RunError)
    return kind(**made)


def converted(name: str, value: Any, hint: Any, error: type[ValueError] = DataError) -> Any:
    """Return a value as the type that is declared for it, or raise `error`.

    4.0 and True are not whole numbers. NumPy numbers become Python's own, a path becomes text if only text is allowed,
    and arrays, columns of tables and generators become lists.
    """
    try:
        return _converted(value, hint)
    except TypeError:
        with suppress(TypeError):
            if isinstance(value, str) and _converted([value], hint):
                raise error(f"`{name}` must be a list, got the text '{value}': write ['{value}']") from None
        shape = getattr(value, "shape", ())
        array = f"{getattr(value, 'dtype', 'a table')} of shape {tuple(shape)}" if shape else ""
        raise error(f"`{name}` must be {in_words(hint)}, got {array or in_quotes(value):.80}") from None


def _converted(value: Any, hint: Any) -> Any:
    """Return a value as a type; raise TypeError if it has another."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        for each in sorted(args, key=lambda each: each is str):  # A path stays a path where one is allowed.
            with suppress(TypeError):
                return _converted(value, each)
    elif kind is Annotated:
        value = _converted(value, args[0])
        if args[1].holds(value):
            return value
    elif kind is Literal and isinstance(value, str) and value in args:
        return value
    elif kind in (int, float):
        if isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool):
            return value if type(value) in (int, float) else kind(value)  # pyright: ignore[reportArgumentType]
    elif kind in (str, Path) and isinstance(value, PathLike):
        return value if isinstance(value, kind) else kind(Path(value))
    elif kind is frozenset and isinstance(value, list):
        return frozenset(_converted(each, args[0]) for each in value)
    elif kind is tuple and isinstance(value, tuple | list):
        hints = args[:1] * len(value) if ... in args else args
        if len(value) == len(hints):
            return tuple(map(_converted, value, hints))
    elif kind is Sequence:
        if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set):
            items = value if isinstance(value, Sequence) else list(value)
            fits = [_converted(each, args[0]) for each in items]
            return items if all(map(is_, items, fits)) else fits
    elif kind is Mapping and args and isinstance(value, Mapping):
        return {_converted(key, args[0]): _converted(each, args[1]) for key, each in value.items()}
    elif kind is Any or isinstance(getattr(value, "_orig_mod", value), kind):  # `torch.compile` wraps a model.
        return value
    raise TypeError


def in_words(hint: Any) -> str:
    """Return what values of a type are, in words; None is left out, as it is the value that is not given."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return either(args)
    if kind is Annotated:
        return args[1].words
    if kind in (Union, UnionType):
        return either([in_words(each) for each in args if each is not NoneType])
    if kind is Sequence:
        return f"a list of {in_words(args[0])}"
    if kind is tuple and args and ... not in args:
        return f"a list of {len(args)} values"
    name = getattr(kind, "__name__", str(kind))
    return _WORDS.get(kind) or (f"what th.{_MAKERS[name]} returns" if name in _MAKERS else f"of type {name}")
