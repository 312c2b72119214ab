"""The OpenAPI 3.1 document, with the agent's own schemas."""

from __future__ import annotations

from typing import Any

from thinkube.serving.agent import MODES
from thinkube.serving.annotations import MESSAGES_SCHEMA
from thinkube.serving.runtime import Runtime

_ERRORS = {
    "400": "The body is not JSON.",
    "401": "There is no key, or it is not valid.",
    "403": "The key does not have the scope.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "422": "The body does not fit the schema.",
    "429": "The caller sends too many requests.",
    "500": "The agent raised, or its result has no JSON form.",
    "503": "Too many runs are in progress.",
    "504": "The run took too long.",
}


def document(runtime: Runtime) -> dict[str, Any]:
    """Describe every path of the application."""
    schemas: dict[str, Any] = {}
    agent = runtime.agent
    schemas["Input"] = _lifted(agent.takes.schema(), schemas)
    schemas["Output"] = _lifted(agent.gives, schemas)
    schemas.update(_schemas())
    return {
        "openapi": "3.1.0",
        "info": {"title": runtime.name, "version": runtime.release or "0", "description": runtime.title},
        "paths": {
            "/invoke": {"post": _operation("Run the agent", "invoke", "Invocation", _json("Result"))},
            "/stream": {"post": {**_operation("Run the agent and stream what happens", "stream", "Invocation",
                                              _events("The last event is `output` or `error`.")),
                                 "parameters": [_mode()]}},
            "/v1/chat/completions": {
                "post": _operation("Chat, as OpenAI's clients do", "createChatCompletion", "ChatRequest",
                                   {**_json("ChatCompletion"), **_events("With `stream`, chunks.")})
            },
            "/v1/models": {"get": _get("List the one model", "listModels")},
            "/metrics": {"get": _metrics()},
            "/healthz": {"get": _get("Whether the process runs", "health", is_open=True)},
            "/readyz": {"get": _get("Whether it takes traffic", "ready", is_open=True)},
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        **({"security": [{"key": []}]} if runtime.access.authorities else {}),
    }  # fmt: skip


def _lifted(schema: dict[str, Any], into: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's own definitions to the components, where its references point."""
    into.update(schema.get("$defs", {}))
    return {key: value for key, value in schema.items() if key != "$defs"}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _events(description: str) -> dict[str, Any]:
    # No schema: JSON Schema has no word for a stream of events.
    return {"text/event-stream": {"x-events": description}}


def _operation(summary: str, identifier: str, body: str, content: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "The result.",
            "content": content,
            "headers": {"x-trace-id": {"schema": {"type": "string"}, "description": "The trace's id."}},
        }
    }
    for status, description in _ERRORS.items():
        responses[status] = {"description": description, "content": _json("Error")}
    return {
        "summary": summary,
        "operationId": identifier,
        "requestBody": {"required": True, "content": _json(body)},
        "responses": responses,
    }


def _get(summary: str, identifier: str, is_open: bool = False) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": summary,
        "operationId": identifier,
        **({"security": []} if is_open else {}),
        "responses": {"200": {"description": "Yes.", "content": content}},
    }


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": "In Prometheus' format.", "content": content}}
    return {"summary": "Figures for Prometheus", "operationId": "metrics", "responses": responses}


def _mode() -> dict[str, Any]:
    return {
        "name": "mode",
        "in": "query",
        "required": False,
        "description": f"LangGraph's stream modes, with commas between: {', '.join(MODES)}.",
        "schema": {"type": "string"},
    }


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    optional = {"type": ["string", "null"]}
    return {
        "Invocation": {
            "description": "The input and who asks; or the input alone.",
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"input": _ref("Input"), "session": optional, "user": optional},
                    "required": ["input"],
                    "additionalProperties": False,
                },
                _ref("Input"),
            ],
        },
        "Result": {
            "type": "object",
            "properties": {"output": _ref("Output"), "trace_id": text},
            "required": ["output", "trace_id"],
        },
        "ChatRequest": {
            "type": "object",
            "properties": {
                "messages": MESSAGES_SCHEMA,
                "model": text,
                "stream": {"type": "boolean", "default": False},
                "user": text,
            },
            "required": ["messages"],
        },
        "ChatCompletion": {
            "type": "object",
            "properties": {"id": text, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
                           "model": text, "choices": {"type": "array", "items": {"type": "object"}}},
            "required": ["id", "object", "created", "model", "choices"],
        },
        "Error": {
            "type": "object",
            "properties": {
                "error": {
                    "type": "object",
                    "properties": {"message": text, "type": text, "param": optional, "id": text},
                    "required": ["message", "type", "id"],
                }
            },
            "required": ["error"],
        },
    }  # fmt: skip
