"""Run inside the image: Unsloth's kernel is there, and the training entry answers."""

import json
import subprocess
from pathlib import Path

kernel = json.loads(Path("/opt/environment/share/jupyter/kernels/unsloth/kernel.json").read_text())
python = kernel["argv"][0]
subprocess.run([python, "-c", "import unsloth, trl, peft, ipykernel, thinkube"], check=True)
subprocess.run([python, "-m", "thinkube.training", "--help"], check=True, capture_output=True)
print("jupyter-fine-tuning: ok")
