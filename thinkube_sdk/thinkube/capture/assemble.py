"""A trace and the name of an object to a Capture."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection

from thinkube.capture.credentials import refuse_credentials, secret_name
from thinkube.capture.frozen import freeze_values
from thinkube.capture.needs import Needs, Selection
from thinkube.capture.reading import Reading, read
from thinkube.capture.refusals import refuse
from thinkube.capture.render import Module, Renderer, dropped_nodes
from thinkube.capture.report import decisions
from thinkube.capture.shipped import shipped_files
from thinkube.capture.special import SECRETIVE
from thinkube.capture.tidy import drop_unused_imports, mark_oddities
from thinkube.capture.trace import Trace
from thinkube.capture.trees import roomy, walk
from thinkube.model.capture import Capture
from thinkube.model.errors import SourceRefused
from thinkube.services.table import CLIENTS


def capture_trace(trace: Trace, name: str, freeze: Collection[str] = ()) -> Capture:
    """Take what the object called `name` needs out of a trace.

    Raises:
        ObjectNotFound: no statement binds `name`.
        SourceRefused: something needed can't be rebuilt outside the notebook.
        SecretInSource: a credential stands in what would ship.
    """
    with roomy():
        try:
            return _capture(trace, name, freeze)
        except RecursionError as error:
            raise SourceRefused(
                f"`{name}` needs an expression that is nested too deeply to follow.",
                "Split it over several statements.",
            ) from error


def _capture(trace: Trace, name: str, freeze: Collection[str]) -> Capture:
    frozen = freeze_values(freeze, trace.live.namespace if trace.live else None)
    reading = read(trace)
    selection = Needs(reading, name, frozen, trace.live.namespace if trace.live else None).run()
    refuse(reading, selection, name, trace)
    replaced, asked = _prompts(reading, selection)
    prompted = bool(replaced)
    replaced |= _folders(reading, selection)
    stored = [frozen[each] for each in selection.loads]
    ours = {line for each in stored for line in each.imports}
    if "display" in selection.missing:
        ours.add("from IPython.display import display")
    if prompted and not _imports_os_first(reading, selection, replaced):
        ours.add("import os")
    title = f"`{name}`, captured from {trace.notebook or 'a notebook'}."
    module = Renderer(reading, selection, replaced, frozen).render(title, sorted(ours))
    edited = replaced or any(dropped_nodes(reading.statements[i], reading.records[i]) for i in selection.kept)
    if edited and drop_unused_imports(reading, selection, module):
        module = Renderer(reading, selection, replaced, frozen).render(title, sorted(ours))
    tree = _parsed(module, name)
    mark_oddities(reading, selection, module, tree)
    text = "\n".join(module.lines) + "\n"
    nodes = walk(tree)
    refuse_credentials(nodes, module.origins)
    files, local_nodes = shipped_files(reading, selection, nodes, trace)
    services, used_secrets = _uses(nodes)
    secrets = _required(reading, selection) | asked | used_secrets
    return Capture(
        name=name,
        module=_module_name(name, {file.path for file in files}),
        source=text,
        origins=tuple(module.origins),
        imports=_imports([*nodes, *local_nodes], {file.path for file in files}),
        requirements=tuple(dict.fromkeys(reading.requirements)),
        services=services,
        secrets=tuple(sorted(secrets)),
        files=(*files, *(each.file for each in stored)),
        report=decisions(reading, selection, name),
        notebook=trace.notebook,
    )


def _imports_os_first(reading: Reading, selection: Selection, replaced: dict[int, str]) -> bool:
    """Whether the notebook's own `import os` comes before everything that was asked for."""
    asked = [i for i in selection.kept if any(id(p.node) in replaced for p in reading.records[i].prompts)]
    return any("os" in selection.used.get(i, ()) and i < min(asked) for i in selection.kept)


def _parsed(module: Module, name: str) -> ast.Module:
    """The module's syntax tree, compiled once to be sure that it will import."""
    text = "\n".join(module.lines) + "\n"
    try:
        tree = ast.parse(text)
        compile(tree, "<capture>", "exec")
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        where = module.origins[line - 1] if 0 < line <= len(module.origins) else None
        raise SourceRefused(
            f"The source of `{name}` is not valid on its own: {error} ({where or f'line {line}'}).",
            "Rewrite that statement as plain Python.",
        ) from error
    return tree


def _module_name(name: str, paths: set[str]) -> str:
    """A module name that hides nothing."""
    base = re.sub(r"\W", "_", name).strip("_").lower() or "entry"
    module = f"{base}_source"
    while f"{module}.py" in paths:
        module += "_"
    return module


def _prompts(reading: Reading, selection: Selection) -> tuple[dict[int, str], set[str]]:
    """Prompts in what ships, each as the environment variable that takes its place."""
    replaced: dict[int, str] = {}
    secrets: set[str] = set()
    for index in sorted(selection.kept):
        for prompt in reading.records[index].prompts:
            name = secret_name(prompt, reading.statements[index].node)
            replaced[id(prompt.node)] = f'os.environ["{name}"]'
            secrets.add(name)
    for index in selection.kept if replaced else ():
        replaced.update(dict.fromkeys(_only_for(reading.statements[index].node, replaced), "pass"))
    return replaced, secrets


def _only_for(statement: ast.stmt, replaced: dict[int, str]) -> list[int]:
    """Imports inside a statement that serve nothing but what is replaced: `from google.colab import …`."""
    gone = {id(part) for node in walk(statement) if id(node) in replaced for part in walk(node)}
    if not gone:
        return []
    used = {n.id for n in walk(statement) if isinstance(n, ast.Name) and id(n) not in gone}
    served = {n.id for n in walk(statement) if isinstance(n, ast.Name) and id(n) in gone}
    found: list[int] = []
    for node in walk(statement):
        if node is not statement and isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if names <= served and not names & used:
                found.append(id(node))
    return found


def _folders(reading: Reading, selection: Selection) -> dict[int, str]:
    """Calls that make a folder, so that they also hold where there is one: at each start but the first."""
    replaced: dict[int, str] = {}
    for index in selection.kept:
        for call in reading.records[index].folders:
            function = ast.unparse(call.func)
            function = re.sub(r"^os\.mkdir$", "os.makedirs", function)
            given = [ast.unparse(argument) for argument in call.args]
            given += [
                f"{k.arg}={ast.unparse(k.value)}" if k.arg else f"**{ast.unparse(k.value)}"
                for k in call.keywords
            ]
            if function != "mkdir":
                replaced[id(call)] = f"{function}({', '.join([*given, 'exist_ok=True'])})"
    return replaced


def _required(reading: Reading, selection: Selection) -> set[str]:
    """Variables that the notebook filled from a prompt or a placeholder."""
    names = set(reading.secrets)
    for record in reading.records:
        names.update(record.secrets)
    kept = {name for index in selection.kept for name in reading.records[index].environment}
    return names - kept


def _uses(nodes: list[ast.AST]) -> tuple[tuple[str, ...], set[str]]:
    """Services and secrets that the source names."""
    services: set[str] = set()
    secrets: set[str] = set()
    modules: set[str] = set()
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name for a in node.names if a.name == "thinkube"}
        elif isinstance(node, ast.ImportFrom) and node.module == "thinkube":
            names.update({a.asname or a.name: a.name for a in node.names})
    for node in nodes:
        called = ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            called = node.attr
        elif isinstance(node, ast.Name):
            called = names.get(node.id, "")
        if called in CLIENTS:
            services.add(CLIENTS[called].service)
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func)
            value = node.args[0].value
            if isinstance(value, str) and _reads_secret(function, modules, names, len(node.args), value):
                secrets.add(value)
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.slice, ast.Constant)
        ):
            value = node.slice.value
            if (
                isinstance(value, str)
                and SECRETIVE.search(value)
                and ast.unparse(node.value) in {"os.environ", "environ"}
            ):
                secrets.add(value)
    return tuple(sorted(services)), secrets


def _reads_secret(
    function: str, modules: set[str], names: dict[str, str], arguments: int, value: str
) -> bool:
    root, _, rest = function.rpartition(".")
    if (root in modules and rest == "secret") or names.get(function) == "secret":
        return True
    reads = {"os.getenv", "os.environ.get", "getenv", "environ.get"}
    return function in reads and arguments == 1 and bool(SECRETIVE.search(value))


def _imports(nodes: list[ast.AST], paths: set[str]) -> tuple[str, ...]:
    """Top-level modules that have to be installed."""
    shipped = {path.partition("/")[0].removesuffix(".py") for path in paths if path.endswith(".py")}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return tuple(sorted(found - shipped - set(sys.stdlib_module_names) - {"__future__"}))
