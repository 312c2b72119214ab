"""Run inside the image, and inside every image built on it: a server, a kernel, the libraries, thinkube."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELLS = [
    "import matplotlib, numpy, pandas, pyarrow, sklearn\nimport mlflow, thinkube as tk\ntk.package",
    "%thinkube --help",
    "import sys; sys.prefix",
]

assert os.getuid() == 1000, f"runs as {os.getuid()}"
compilers = [tool for tool in ("gcc", "cc", "make") if shutil.which(tool)]
assert not compilers, f"{compilers} should not be in the image"
for command in (
    ["jupyterhub-singleuser", "--version"],
    ["jupyter", "lab", "--version"],
    ["thinkube", "--version"],
):
    subprocess.run(command, check=True, capture_output=True)
assert list(Path("/opt/thinkube/notebooks").glob("*.ipynb")), "the example notebooks are missing"
with tempfile.TemporaryDirectory() as home:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": home}}
    ).execute()
assert "/opt/environment" in str(notebook.cells[-1].outputs)
print("jupyter-ml-cpu: ok")
