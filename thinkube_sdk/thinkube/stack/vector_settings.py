"""What a collection was told and the engine here has no use for: payload indexes, and how to store and index.

It is kept beside the engine's data and told again with the collection, so that a copy of it on a Qdrant that
does use it (`thinkube vectors push`) is made as this one was meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from qdrant_client import models

from thinkube.model.private import write_private

VERSION = 1

_CONFIGURED = {
    "hnsw_config": "hnsw_config",
    "optimizers_config": "optimizer_config",
    "quantization_config": "",
}


class Settings:
    """The settings of all collections, each change on disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "thinkube-settings.json"
        self._collections: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise SystemExit(f"{self._path} has version {document['version']}; this reads {VERSION}.")
            self._collections = document["collections"]

    def created(self, name: str, body: models.CreateCollection) -> None:
        """Keep what a new collection was told."""
        given = _plain(body)
        config = {key: given[key] for key in (*_CONFIGURED, "on_disk_payload") if given.get(key) is not None}
        self._collections[name] = {"config": config, "indexes": {}}
        self._write()

    def dropped(self, name: str) -> None:
        """Forget a collection."""
        if self._collections.pop(name, None) is not None:
            self._write()

    def indexed(self, name: str, body: models.CreateFieldIndex) -> None:
        """Keep a payload index."""
        self._of(name)["indexes"][body.field_name] = _plain(body).get("field_schema") or "keyword"
        self._write()

    def unindexed(self, name: str, field: str) -> None:
        """Forget a payload index."""
        if self._of(name)["indexes"].pop(field, None) is not None:
            self._write()

    def told(self, name: str, info: models.CollectionInfo) -> models.CollectionInfo:
        """The engine's information on a collection, with what it was told."""
        kept = self._collections.get(name, {"config": {}, "indexes": {}})
        told = _plain(info)
        config = told["config"]
        for key, answered in _CONFIGURED.items():
            if key in kept["config"]:
                place = answered or key
                config[place] = {**config[place], **kept["config"][key]} if answered else kept["config"][key]
        if "on_disk_payload" in kept["config"]:
            config["params"]["on_disk_payload"] = kept["config"]["on_disk_payload"]
        told["payload_schema"] = {
            field: {
                "data_type": schema if isinstance(schema, str) else schema["type"],
                "params": None if isinstance(schema, str) else schema,
                "points": info.points_count or 0,
            }
            for field, schema in kept["indexes"].items()
        }
        return models.CollectionInfo.model_validate(told)

    def _of(self, name: str) -> dict[str, Any]:
        return self._collections.setdefault(name, {"config": {}, "indexes": {}})

    def _write(self) -> None:
        document = {"version": VERSION, "collections": self._collections}
        write_private(self._path, json.dumps(document, indent=1) + "\n")


def _plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude_none=True)
