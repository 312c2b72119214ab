# docker buildx bake -f images/docker-bake.hcl [--push] [TARGET], from the repository's root, after `make wheel`.
# Every base is an argument: a mirror, a distroless Python or another CUDA takes its place without an edit.
variable "REGISTRY" { default = "thinkube" }
variable "TAG" { default = "latest" }
variable "PYTHON_VERSION" { default = "3.12" }
variable "PYTHON" { default = "python:${PYTHON_VERSION}-slim-bookworm" }
variable "CUDA" { default = "nvidia/cuda:12.6.3-base-ubuntu24.04" }

group "default" { targets = ["cpu", "gpu"] }
group "cpu" { targets = ["agent-runtime", "jupyter-ml-cpu", "jupyter-agent-dev"] }
group "gpu" { targets = ["jupyter-ml-gpu", "jupyter-fine-tuning", "jupyter-inference"] }

target "_image" {
  context = "."
  attest  = ["type=sbom", "type=provenance,mode=max"]
}

target "agent-runtime" {
  inherits   = ["_image"]
  dockerfile = "images/agent-runtime/Dockerfile"
  args       = { PYTHON = PYTHON }
  tags       = ["${REGISTRY}/agent-runtime:python${PYTHON_VERSION}"]
}

target "jupyter-ml-cpu" {
  inherits   = ["_image"]
  dockerfile = "images/jupyter-ml-cpu/Dockerfile"
  args       = { PYTHON = PYTHON }
  tags       = ["${REGISTRY}/jupyter-ml-cpu:${TAG}"]
}

target "jupyter-agent-dev" {
  inherits   = ["_image"]
  dockerfile = "images/jupyter-agent-dev/Dockerfile"
  args       = { BASE = "jupyter-ml-cpu" }
  contexts   = { jupyter-ml-cpu = "target:jupyter-ml-cpu" }
  tags       = ["${REGISTRY}/jupyter-agent-dev:${TAG}"]
}

target "jupyter-ml-gpu" {
  inherits   = ["_image"]
  dockerfile = "images/jupyter-ml-gpu/Dockerfile"
  args       = { CUDA = CUDA }
  tags       = ["${REGISTRY}/jupyter-ml-gpu:${TAG}"]
}

target "jupyter-fine-tuning" {
  inherits   = ["_image"]
  dockerfile = "images/jupyter-fine-tuning/Dockerfile"
  args       = { BASE = "jupyter-ml-gpu" }
  contexts   = { jupyter-ml-gpu = "target:jupyter-ml-gpu" }
  tags       = ["${REGISTRY}/jupyter-fine-tuning:${TAG}"]
}

target "jupyter-inference" {
  inherits   = ["_image"]
  dockerfile = "images/jupyter-inference/Dockerfile"
  args       = { BASE = "jupyter-ml-gpu" }
  contexts   = { jupyter-ml-gpu = "target:jupyter-ml-gpu" }
  tags       = ["${REGISTRY}/jupyter-inference:${TAG}"]
}
