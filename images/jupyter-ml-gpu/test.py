"""Run inside the image, and inside every image built on it: torch, and the node's GPU where one is given."""

import os

import torch

wanted = os.environ.get("NVIDIA_VISIBLE_DEVICES", "all") not in ("void", "none", "all")
assert torch.cuda.is_available() or not wanted, "a GPU was given to this container, and torch does not see it"
assert (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item() == 8
print(f"jupyter-ml-gpu: ok, torch {torch.__version__}, GPU: {torch.cuda.is_available()}")
