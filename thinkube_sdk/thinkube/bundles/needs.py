"""Which modules captured source asks for: by import, through a Thinkube client, or by name in a call."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from thinkube.model.capture import Capture
from thinkube.services.table import CLIENTS

# `init_chat_model("openai:gpt-5")` imports an integration that no import statement names.
# From langchain's own tables (langchain.chat_models.base, langchain.embeddings.base).
_PROVIDERS = {
    "anthropic": "langchain_anthropic",
    "anthropic_bedrock": "langchain_aws",
    "azure_ai": "langchain_azure_ai",
    "azure_openai": "langchain_openai",
    "bedrock": "langchain_aws",
    "bedrock_converse": "langchain_aws",
    "cohere": "langchain_cohere",
    "deepseek": "langchain_deepseek",
    "fireworks": "langchain_fireworks",
    "google_genai": "langchain_google_genai",
    "google_vertexai": "langchain_google_vertexai",
    "groq": "langchain_groq",
    "huggingface": "langchain_huggingface",
    "ibm": "langchain_ibm",
    "litellm": "langchain_litellm",
    "mistralai": "langchain_mistralai",
    "nvidia": "langchain_nvidia_ai_endpoints",
    "ollama": "langchain_ollama",
    "openai": "langchain_openai",
    "openrouter": "langchain_openrouter",
    "perplexity": "langchain_perplexity",
    "together": "langchain_together",
    "upstage": "langchain_upstage",
    "xai": "langchain_xai",
}
_PROVIDER_CALLS = {
    "init_chat_model",
    "init_embeddings",
    "create_agent",
    "create_react_agent",
    "create_deep_agent",
}

# A class or function that imports its engine when it is first used.
_ENGINES = {
    "BM25Retriever": "rank_bm25",
    "BSHTMLLoader": "bs4",
    "Chroma": "chromadb",
    "FAISS": "faiss",
    "HuggingFaceEmbeddings": "sentence_transformers",
    "PyPDFLoader": "pypdf",
    "WebBaseLoader": "bs4",
    "read_excel": "openpyxl",
    "read_html": "lxml",
    "read_parquet": "pyarrow",
    "to_markdown": "tabulate",
    "to_parquet": "pyarrow",
}

# A module whose library leaves it to the user to install what it integrates with.
_COMPANIONS = {
    "langfuse.langchain": "langchain",
    "langfuse.openai": "openai",
    "mlflow.crewai": "crewai",
    "mlflow.langchain": "langchain",
    "mlflow.openai": "openai",
}


@dataclass(frozen=True)
class Need:
    """One module asked for.

    Attributes:
        module: dotted name, as far as the source gives it.
        line: line of the captured module, or None in a file shipped beside it.
        where: the file, for needs of shipped files.
        because: how the source asks for it, for people: "`import faiss`".
        optional: the source goes on without it.
        statement: an import statement names it.
    """

    module: str
    line: int | None
    where: str | None
    because: str
    optional: bool = False
    statement: bool = False

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def needs(capture: Capture) -> list[Need]:
    """Everything the capture's source and shipped modules ask for, in order, each module once."""
    found: dict[str, Need] = {}
    for need in _all(capture):
        known = found.get(need.module)
        if known is None or (known.optional and not need.optional):
            found[need.module] = need
    seen = {need.top for need in found.values()}
    for top in capture.imports:
        if top not in seen:
            found[top] = Need(top, None, None, f"`{top}` is imported")
    imported = set(capture.imports)
    shipped = {file.path.partition("/")[0].removesuffix(".py") for file in capture.files}
    return [
        need
        for need in found.values()
        if need.top in imported or (not need.statement and need.top not in shipped)
    ]


def clients(capture: Capture) -> list[str]:
    """Names of the Thinkube clients (`llm`, `qdrant`, …) the source uses."""
    named: set[str] = set()
    for tree, _ in _trees(capture):
        aliases = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name == "thinkube"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("thinkube", "thinkube.services.clients"):
                named.update(alias.name for alias in node.names)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in aliases
            ):
                named.add(node.attr)
    used = [client for client in CLIENTS.values() if client.name in named]
    covered = {client.service for client in used}
    # A service reached in a way the source does not spell out gets every client it has.
    used += [
        client
        for client in CLIENTS.values()
        if client.service in capture.services and client.service not in covered
    ]
    return [client.name for client in used]


def _all(capture: Capture) -> Iterator[Need]:
    for tree, where in _trees(capture):
        visitor = _Visitor(where)
        visitor.visit(tree)
        yield from visitor.found


def _trees(capture: Capture) -> Iterator[tuple[ast.Module, str | None]]:
    yield ast.parse(capture.source), None
    for file in capture.files:
        if file.path.endswith(".py"):
            # What does not parse can't be imported either: it ships as data.
            with contextlib.suppress(SyntaxError, ValueError):
                yield ast.parse(file.content, file.path), file.path


class _Visitor(ast.NodeVisitor):
    def __init__(self, where: str | None) -> None:
        self.found: list[Need] = []
        self._where = where
        self._optional = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node, f"`import {alias.name}`")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        for alias in node.names:
            # `from google import genai` names a module, `from os import path` an attribute: the
            # longer name resolves to the right distribution in both cases.
            name = node.module if alias.name == "*" else f"{node.module}.{alias.name}"
            self._add(name, node, f"`import {node.module}`")
            self._engine(alias.name, node)

    def visit_Try(self, node: ast.Try) -> None:
        forgiving = any(_catches_import_error(handler) for handler in node.handlers)
        self._visit_body(node.body, forgiving)
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        only_types = isinstance(node.test, ast.Name | ast.Attribute) and (
            ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
        )
        self._visit_body(node.body, only_types)
        self._visit_body(node.orelse, False)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._engine(node.attr, node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _PROVIDER_CALLS:
            self._provider(node, name)
        elif name in ("import_module", "__import__") and node.args and _is_text(node.args[0]):
            module = ast.literal_eval(node.args[0])
            self._add(module, node, f"`{name}({module!r})`")
        self.generic_visit(node)

    def _provider(self, node: ast.Call, name: str) -> None:
        given = {word.arg: word.value for word in node.keywords}
        choice = given.get("model_provider") or given.get("provider") or given.get("model")
        choice = choice or (node.args[0] if node.args else None)
        if choice is None or not _is_text(choice):
            return
        provider = ast.literal_eval(choice).partition(":")[0]
        if module := _PROVIDERS.get(provider):
            self._add(module, node, f"`{name}` with the provider {provider}")

    def _engine(self, name: str, node: ast.stmt | ast.expr) -> None:
        if module := _ENGINES.get(name):
            # Another library may well have a method of that name.
            self.found.append(
                Need(module, self._line(node), self._where, f"`{name}` loads it", optional=True)
            )

    def _visit_body(self, body: list[ast.stmt], optional: bool) -> None:
        before, self._optional = self._optional, self._optional or optional
        for statement in body:
            self.visit(statement)
        self._optional = before

    def _add(self, module: str, node: ast.stmt | ast.expr, because: str) -> None:
        statement = isinstance(node, ast.Import | ast.ImportFrom)
        self.found.append(Need(module, self._line(node), self._where, because, self._optional, statement))
        companion = _COMPANIONS.get(".".join(module.split(".")[:2]))
        if companion:
            self.found.append(Need(companion, self._line(node), self._where, f"{because} uses it", True))

    def _line(self, node: ast.stmt | ast.expr) -> int | None:
        return node.lineno if self._where is None else None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {ast.unparse(kind) for kind in kinds}
    return not names.isdisjoint({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
