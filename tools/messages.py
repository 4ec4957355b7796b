"""Write tests/golden/messages.txt, the messages in src/texthead: python -m tools.messages

A message is a text that is raised, printed or noted. Its values stand in it as in an f-string: `{path}`.
"""

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "texthead"
PAGE = ROOT / "tests" / "golden" / "messages.txt"
KINDS = re.compile(r"\w*(Error|Exception|Warning)|Finding|Refused|Unusable")
# Functions and methods that print their arguments, and the lists of notes that are printed later.
PRINTING = {"bar", "status", "error", "message", "note", "print", "say", "say_notes", "warn"}
COLLECTING = {"lines.append", "notes.append"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Locals = dict[str, list[ast.expr]]


def kind_of(call: ast.Call) -> str:
    """Return the kind of message that a call makes: the name of an error, or `prints`; empty for other calls."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if KINDS.fullmatch(last):
        return last
    return "prints" if last in PRINTING or name in COLLECTING else ""


def texts(value: ast.expr, names: Locals) -> list[str]:
    """Return the texts that an expression can have; none if it builds no text itself."""
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(choice) for choice in product(*(texts(part, names) for part in parts))]
        case ast.FormattedValue(value=inner):
            return [f"{{{ast.unparse(inner)}}}"]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return ["".join(pair) for pair in product(texts(left, names), texts(right, names))]
        case ast.IfExp(body=body, orelse=orelse):
            return [*texts(body, names), *texts(orelse, names)]
        case ast.List(elts=values) | ast.Tuple(elts=values):
            return [text for each in values for text in texts(each, names)]
        case ast.ListComp(elt=inner) | ast.GeneratorExp(elt=inner) | ast.Starred(value=inner):
            return texts(inner, names)
        case ast.Name(id=name):
            others = {key: values for key, values in names.items() if key != name}
            return [text for each in names.get(name, []) for text in texts(each, others)]
    return []


def assigned(function: ast.AST) -> Locals:
    """Return the values that each variable of a function is set to."""
    values: Locals = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                match target, node.value:
                    case ast.Tuple(elts=parts), ast.Tuple(elts=given):
                        pairs = [*zip(parts, given, strict=False)]
                    case _:
                        pairs = [(target, node.value)]
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        values.setdefault(name.id, []).append(value)
    return values


def messages(node: ast.AST, names: Locals | None = None) -> Iterator[str]:
    """Yield the messages of a module or a part of it, each after its kind."""
    names = names or {}
    if isinstance(node, Function):
        names = {**names, **assigned(node)}
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "raising":
        problem, remedy = (texts(each, names) or [f"{{{ast.unparse(each)}}}"] for each in node.args[1:3])
        yield from (f"raising: {first} (...); {last}" for first, last in product(problem, remedy))
    elif isinstance(node, ast.Call) and (kind := kind_of(node)):
        for text in (text for argument in node.args for text in texts(argument, names)):
            if " " in text.strip():
                yield f"{kind}: {' '.join(text.split())}"
    for child in ast.iter_child_nodes(node):
        yield from messages(child, names)


def strings(source: Path = SOURCE) -> Iterator[tuple[str, str]]:
    """Yield (module, text) for every text of several words that is no docstring, be it a message or a part of one."""
    for path in sorted(source.rglob("*.py")):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        inner = {id(part) for node in nodes for part in (*getattr(node, "values", ()), *_docstring(node))}
        for node in nodes:
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner:
                yield from (
                    (path.relative_to(source).as_posix(), text) for text in texts(node, {}) if " " in text.strip()
                )


def _docstring(node: ast.AST) -> list[ast.expr]:
    return [node.value] if isinstance(node, ast.Expr) else []


def page(source: Path = SOURCE) -> str:
    """Return the messages of each module, sorted so that two changes to the file merge."""
    lines: list[str] = []
    for path in sorted(source.rglob("*.py")):
        found = sorted(set(messages(ast.parse(path.read_text(encoding="utf-8")))))
        if found:
            lines += [f"# {path.relative_to(source).as_posix()}", "", *found, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
