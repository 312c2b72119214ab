"""Run inside the image, and inside every image built on it: nothing to build with, nobody to be."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

assert os.getuid() == 65532, f"runs as {os.getuid()}"
assert sys.version_info >= (3, 11), sys.version
tools = [tool for tool in ("pip", "gcc", "cc", "make", "git", "curl", "uv") if shutil.which(tool)]
assert not tools, f"{tools} should not be in a runtime image"
pip = subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True, text=True)
assert pip.returncode, f"pip should not be in a runtime image: {pip.stdout}"
try:
    Path("/etc/written").touch()
except PermissionError:
    pass
else:
    raise AssertionError("the root file system can be written by the agent's user")
with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["python3", "-m", "venv", "--without-pip", folder], check=True)
print("agent-runtime: ok")
