"""The description of an agent: valid, and made from its own types."""

from __future__ import annotations

import jsonschema
import pytest
from openapi_spec_validator import validate
from tests.serving import agents
from tests.serving.conftest import Serve

SOURCES = [
    agents.GRAPH, agents.PYDANTIC_GRAPH, agents.CHAT_GRAPH, agents.CHAIN, agents.MODEL, agents.FUNCTION,
    agents.SOLE, agents.GENERATOR, agents.UNTYPED,
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_has_a_valid_document_and_a_page(serve: Serve, source: str) -> None:
    served = serve(source)
    document = served.client.get("/openapi.json").json()
    validate(document)
    page = served.client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://HOST:PORT", ""), "nothing is loaded from elsewhere"


def accepts(document: dict, name: str, value: object) -> bool:  # type: ignore[type-arg]
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_the_schema_and_the_server_agree(serve: Serve) -> None:
    served = serve(agents.FUNCTION)
    document = served.client.get("/openapi.json").json()
    assert document["info"]["description"] == "Repeats what it hears."
    for given in (
        {"question": "a"},
        {"question": "a", "loud": True},
        "a",
        {"loud": True},
        {"question": 1},
        3,
        [],
    ):
        assert accepts(document, "Input", given) == (served.invoke(given).status_code == 200), given
    assert accepts(document, "Result", served.invoke("a").json())


def test_nested_types_become_components(serve: Serve) -> None:
    source = """
from dataclasses import dataclass
from typing import Literal, TypedDict

@dataclass
class Place:
    city: str

class Stop(TypedDict):
    city: str

@dataclass
class Trip:
    to: Place
    by: Literal["train", "bike"] = "train"

def agent(trip: Trip, stops: list[Stop] | None = None) -> Trip:
    assert isinstance(trip, Trip)
    return trip
"""
    served = serve(source)
    document = served.client.get("/openapi.json").json()
    validate(document)
    assert {"Trip", "Place", "Stop"} <= set(document["components"]["schemas"])
    assert served.output({"trip": {"to": {"city": "Gent"}}}) == {"to": {"city": "Gent"}, "by": "train"}
    wrong = served.invoke({"trip": {"to": {"city": 1}, "by": "boat"}, "stops": [{"city": "x"}, {}]})
    paths = {problem["path"] for problem in wrong.json()["error"]["problems"]}
    assert paths == {"input.trip.to.city", "input.trip.by", "input.stops[1].city"}
