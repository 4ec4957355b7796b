"""A command is a frozen dataclass: its fields are options, their docs the help, and `__call__` does it.

    @dataclass(frozen=True)
    class Evaluate:
        '''Score a run on labelled data.

        Args:
            run: a run folder
        '''

        run: str = argument("RUN")
        files: ReadingOptions = ReadingOptions()

Fields that are dataclasses are groups of options that commands share; their flags stay flat (`--workers`). Torch is not
imported here, and a command imports it inside its functions, so that help is quick.
"""

import dataclasses
import difflib
import re
import shutil
import sys
import typing
from argparse import SUPPRESS, Action, ArgumentError, _SubParsersAction
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docstring_parser.google import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from texthead.errors import DataError
from texthead.files import check_options

# Numbers with a rule, which the parser checks.
if typing.TYPE_CHECKING:
    NonNegativeInt = PositiveInt = UpTo12 = int
    PositiveFloat = float
else:
    from jsonargparse.typing import NonNegativeInt as NonNegativeInt
    from jsonargparse.typing import PositiveFloat as PositiveFloat
    from jsonargparse.typing import PositiveInt as PositiveInt
    from jsonargparse.typing import restricted_number_type

    # A page that can still be sent on.
    UpTo12 = restricted_number_type("UpTo12", int, [(">=", 0), ("<=", 12)])

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text (in quotes)",
    "tuple": "two numbers, as [0.35, 1.0]",
    "NonNegativeInt": "a whole number, 0 or more",
    "PositiveFloat": "a number above 0",
    "PositiveInt": "a whole number, 1 or more",
}


def argument(metavar: str, *, nargs: str | None = None, read: Callable[[str], Any] | None = None) -> Any:
    """Return a field that is given by its place, without a flag.

    Args:
        metavar: its name in the help and in messages.
        nargs: "?" for one that may be left out (None), "*" for any number (a list), "+" for at least one.
        read: makes the value of what was typed, when the command is built.
    """
    defaults: dict[str | None, Any] = {"?": None, "*": ()}
    default = defaults.get(nargs, dataclasses.MISSING)
    return dataclasses.field(
        default=default, metadata={"place": True, "metavar": metavar, "nargs": nargs, "read": read}
    )


def option(default: Any = dataclasses.MISSING, metavar: str | None = None, *, repeated: bool = False) -> Any:
    """Return a field with a flag.

    Args:
        default: its value where it is left out, or a function that returns it; without one the option is required.
        metavar: what its value is called in the help.
        repeated: the flag can be given several times, and the field is a list.
    """
    metadata = {"metavar": metavar, "repeated": repeated}
    if isinstance(default, Callable):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def extra(default: Any = dataclasses.MISSING) -> Any:
    """Return a field that no option fills, with a function for its default; `build` takes it by name.

    The field `action` of a command with ACTIONS is one: `build` makes the chosen action.
    """
    return dataclasses.field(default_factory=default, metadata={"extra": True})


def add_command(commands: Any, command: type) -> None:
    """Add a command and its actions to the subcommands of a parser."""
    parser = parser_of(command)
    summary = (parse(command.__doc__ or "").short_description or "").rstrip(".")
    commands.add_subcommand(_word(command), parser, help=summary[:1].lower() + summary[1:])
    if actions := getattr(command, "ACTIONS", ()):
        # jsonargparse wants outer commands added before inner ones.
        inner = parser.add_subcommands(required=True, dest="action", metavar="ACTION")
        for action in actions:
            add_command(inner, action)


def _name(command: type) -> str:
    """Return the name of a command, as `train` or `classes RUN add`: its NAME, else its class without "Command"."""
    return getattr(command, "NAME", command.__name__.removesuffix("Command").lower())


def _word(command: type) -> str:
    """Return what one types for a command or an action: the last word of its name."""
    return _name(command).rpartition(" ")[2]


def parser_of(command: type, *, exit_on_error: bool = True) -> "Parser":
    """Return the parser of a command; a mistake ends the program, or is an `argparse.ArgumentError`."""
    about = parse(command.__doc__ or "")
    parser = Parser(
        prog=f"texthead {_name(command)}",
        description=" ".join(filter(None, (about.short_description, about.long_description))),
        exit_on_error=exit_on_error,
    )
    _add_options(parser, command, parser)
    if hasattr(command, "extend"):
        command.extend(parser)
    parser.usage = getattr(command, "USAGE", None) or _usage(parser, command)
    return parser


def _usage(parser: ArgumentParser, command: type) -> str:
    """Return the arguments and required options of a command in one line."""
    words, places = [f"texthead {_name(command)}"], {"?": "[{}]", "*": "[{}...]", "+": "{}..."}
    for action in parser._actions:
        if not action.option_strings:
            words.append(places.get(str(action.nargs), "{}").format(action.metavar))
        elif action.required:
            words.append(f"{action.option_strings[-1]} {action.metavar}")
    others = any(action.option_strings and not action.required for action in parser._actions if action.dest != "help")
    return " ".join([*words, *["[options]"] * others])


def groups_of(command: type) -> dict[str, type]:
    """Return the fields of a command that are groups of options."""
    hints = typing.get_type_hints(command)
    return {f.name: hints[f.name] for f in dataclasses.fields(command) if dataclasses.is_dataclass(hints[f.name])}


def texts_of(holder: type) -> dict[str, str]:
    """Return what the docs of a dataclass, and of those that it builds on, say of each field."""
    params = [each for kind in reversed(holder.__mro__) for each in parse(kind.__doc__ or "").params]
    return {each.arg_name: " ".join((each.description or "").split()) for each in params}


def values_of(command: Any) -> dict[str, Any]:
    """Return the options of a command and their values, those of its groups among them."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if dataclasses.is_dataclass(value):
            values |= values_of(value)
        elif not field.metadata.get("extra"):
            values[_key(field)] = value
    return values


def build(command: type, values: Mapping[str, Any], **more: Any) -> Any:
    """Return the command with its options; groups take theirs, and `more` are fields that no option fills."""
    for action in getattr(command, "ACTIONS", ()):
        if _word(action) == values["action"]:
            more["action"] = build(action, values[_word(action)])
    groups = groups_of(command)
    parts, hints = {name: build(group, values) for name, group in groups.items()}, typing.get_type_hints(command)
    own = {
        field.name: _read(field, hints[field.name], values[_key(field)])
        for field in dataclasses.fields(command)
        if field.name not in (*groups, *more)
    }
    return command(**own, **parts, **more)


def _read(field: dataclasses.Field, hint: Any, value: Any) -> Any:
    """Return the value of a field, of what was typed.

    Raises:
        DataError: an empty text, or null in --config where there has to be a value.
    """
    if value == "" or (isinstance(value, list) and "" in value):
        raise DataError(f"{_typed(field)} is empty: give it a value, or leave it out")
    if value is None:
        check_not_null(_typed(field), hint)
    read = field.metadata.get("read")
    if read is None or value is None:
        return value
    return [read(each) for each in value] if isinstance(value, list | tuple) else read(value)


def _typed(field: dataclasses.Field) -> str:
    """Return what a field is called in messages."""
    return field.metadata["metavar"] if field.metadata.get("place") else f"--{_key(field).replace('_', '-')}"


def check_not_null(name: str, hint: Any) -> None:
    """Raise DataError for an option that is null in --config, unless its type allows None."""
    if type(None) not in typing.get_args(hint):
        raise DataError(f"{name} is null in --config: give it a value, or leave it out")


def _key(field: dataclasses.Field) -> str:
    """Return what a field is called on the command line: `from_` is `from`, which Python keeps for itself."""
    return field.name.removesuffix("_")


def _add_options(parser: ArgumentParser, holder: type, target: Any) -> None:
    """Add the options of a command, or of a group, to a parser or to a titled section of its help."""
    hints, groups = typing.get_type_hints(holder, include_extras=True), groups_of(holder)
    texts = texts_of(holder)
    for field in dataclasses.fields(holder):
        if field.name in groups:
            group = groups[field.name]
            title = getattr(group, "TITLE", None)
            summary = (group.__doc__ or "").partition("\n")[0]
            _add_options(parser, group, parser.add_argument_group(title, summary) if title else target)
        elif not field.metadata.get("extra"):
            _add_option(target, field, hints[field.name], texts[field.name])


def _add_option(target: Any, field: dataclasses.Field, hint: Any, text: str) -> None:
    """Add one field to a parser; an option without a type takes any text."""
    how: dict[str, Any] = {"help": text}
    if field.metadata.get("metavar"):
        how["metavar"] = field.metadata["metavar"]
    if field.metadata.get("place"):
        if field.metadata["nargs"]:
            how["nargs"] = field.metadata["nargs"]
        target.add_argument(field.name, **how)
        return
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    flag = f"--{_key(field).replace('_', '-')}"
    if field.metadata.get("repeated"):
        target.add_argument(flag, action="append", default=default, **how)
    elif default is dataclasses.MISSING:
        target.add_argument(flag, required=True, **how)
    elif hint is bool:
        target.add_argument(flag, action="store_true", default=default, **how)
    else:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        kind = kinds[0] if type(None) in typing.get_args(hint) else hint
        target.add_argument(flag, default=default, **how, **({} if kind is str else {"type": kind}))


def _plain(message: str) -> str:
    """The parser's message in one line that names options as they are typed."""
    text = " ".join(message.split())
    if text.startswith('expected "classes.action" to be one of'):
        return "classes RUN needs list, add, rename, remove or merge (see texthead classes --help)"
    if text.startswith("Unexpected config: "):
        # The parser quotes the whole file.
        found = text.removeprefix("Unexpected config: ")
        return f"--config needs lines `option: value`, as --print-config prints them, got {found[:40]!r}"
    option = re.match(r"Subcommand '(\w+)' does not accept option '([\w.]+)'", text)
    if option:
        return f"texthead {option[1]} has no option {option[2]!r} (given in --config)"
    wrong = re.fullmatch(r'Parser key "(?:\w+\.)?(\w+)": (.*)', text)
    if not wrong:
        return text
    option, problem = f"--{wrong[1].replace('_', '-')}", wrong[2]
    kind = re.search(r"Literal\[(.*?)\]|<class '(\w+)'>|Not of type (\w+)|Expected a (tuple)", problem)
    said = r"[Gg]ot value|Given value|(?:NonNegativeInt|PositiveFloat|PositiveInt)(?:: invalid literal.*base 10)?"
    value = re.search(rf"(?:{said}):(?: '?|$)([^\s']*)", problem)
    if not kind or not value:
        return f"{option}: {problem}"
    *others, last = kind[1].split(", ") if kind[1] else ["", _KINDS[kind[2] or kind[3] or kind[4]]]
    rule = f"{', '.join(others)} or {last}".replace("'", "") if kind[1] else last
    return f"{option} must be {rule}, got {value[1] or 'nothing'}"


class _Help(DefaultHelpFormatter):
    """Help without types, and with a default only where there is one to know."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=min(100, shutil.get_terminal_size().columns - 2))

    def _get_help_string(self, action: Action) -> str:
        shown = action.default not in (None, False, SUPPRESS)
        return f"{action.help or ''}{f' (default: {action.default})' if shown else ''}"


class Parser(ArgumentParser):
    """A parser whose errors are one line, and whose options are never guessed from their beginnings."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Help)
        kwargs.setdefault("print_config", "--print-%s")
        super().__init__(*args, **kwargs)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The options in a file, which is looked at before its reader takes memory for it."""
        try:
            check_options(Path(path))
        except (OSError, ValueError) as error:
            self.error(f"--config {path}: {error}")
        return super().parse_path(path, *args, **kwargs)

    def _needs(self, word: str, *words: str) -> str:
        """Return a line on what is missing: by the words for the commands, and the name of the argument."""
        if words:
            commands = next(action for action in self._actions if isinstance(action, _SubParsersAction))
            return commands.choices[word]._needs(*words)
        action = next(action for action in self._actions if action.dest == word)
        typed = action.option_strings[-1] if action.option_strings else action.metavar
        command = self.prog.replace(" [options]", "").removeprefix("texthead ")
        return f"{command} needs {typed} (see texthead {command} --help)"

    def error(self, message: str, ex: Exception | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print the message and exit with 2, unless the parser was made to raise it."""
        required = re.fullmatch(r"the following arguments are required: ([\w.]+)", message)
        line = self._needs(*required[1].split(".")) if required else _plain(message)
        if not self.exit_on_error:
            raise ArgumentError(None, line) from ex
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", line)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1) if unknown else []
        line += f": did you mean {near[0]}?" if near else ""
        if re.match(r"unrecognized arguments: [^-]", line):
            line += ": names of files and the like stand together, before the options"
        if "--help)" not in line:
            line += f" (see {self.prog.replace(' [options]', '')} --help)"
        print(f"texthead: {line}", file=sys.stderr)
        sys.exit(2)
