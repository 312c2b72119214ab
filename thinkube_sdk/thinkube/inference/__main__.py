"""`python -m thinkube.inference FOLDER --name router`: serve a tuned model behind OpenAI's API."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from thinkube.model.errors import BaseNotFound, ThinkubeError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m thinkube.inference", description=__doc__)
    parser.add_argument("folder", type=Path, help="an adapter beside its tokenizer, or whole weights")
    parser.add_argument("--name", required=True, help="the model's name in requests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        serve(options.folder, options.name, options.host, options.port)
    except ThinkubeError as error:
        print(f"{error.cause}\n{error.fix}", file=sys.stderr)
        return 1
    return 0


def serve(folder: Path, name: str, host: str, port: int) -> None:
    """Serve until told to stop.

    Raises:
        BaseNotFound, AdapterMismatch: the folder holds no model, or an adapter without its base.
    """
    from thinkube.training.base import look

    if not folder.is_dir():
        raise BaseNotFound(f"There is no model at {folder}.", "Give the folder of a tuned model.")
    known = look(str(folder.resolve()))
    assert known is not None
    import torch
    import uvicorn
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from thinkube.inference.app import Served, application
    from thinkube.inference.engine import Engine
    from thinkube.training.loading import mend
    from thinkube.training.tokens import Tokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = str(known.folder)
    if known.adapter and known.folder == known.adapter:  # its base is on a hub
        base = _named_base(known.adapter)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if device == "cuda" else "auto")
    native = mend(AutoTokenizer.from_pretrained(str(folder)), model.config)
    if known.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(known.adapter)).merge_and_unload()
    window = int(getattr(model.config, "max_position_embeddings", 2048))
    encode = Tokenizer(native, "auto", window, True).prompt
    served = Served(name, Engine(model.to(device), native), encode, window)
    uvicorn.run(application(served), host=host, port=port, log_level="info", access_log=False)


def _named_base(adapter: Path) -> str:
    from peft import PeftConfig

    return str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path)


if __name__ == "__main__":
    sys.exit(main())
