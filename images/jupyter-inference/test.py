"""Run inside the image: vLLM's kernel is there, and its server's command answers."""

import json
import subprocess
from pathlib import Path

kernel = json.loads(Path("/opt/environment/share/jupyter/kernels/vllm/kernel.json").read_text())
python = Path(kernel["argv"][0])
subprocess.run([python, "-c", "import vllm, ipykernel, thinkube"], check=True)
subprocess.run([python.with_name("vllm"), "serve", "--help"], check=True, capture_output=True)
print("jupyter-inference: ok")
