"""A training job's workflow, built with hera's models: prepare → train → evaluate → register → deploy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hera.workflows import Container, Workflow, WorkflowTemplate

JOB_LABEL = "thinkube.io/job"
GPU = "nvidia.com/gpu"
WORK = "/work"
_DAY = 86400
_RUN = f"{WORK}/run"
# 1: a model could not be made, and could not at a second try. All else, a lost node included, is tried again.
_AGAIN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) != 1"


@dataclass(frozen=True)
class Artifacts:
    """An S3 bucket that the model is kept in beside MLflow.

    Attributes:
        endpoint: host and port.
        bucket: its name.
        secret: the Secret with `access-key` and `secret-key`.
        insecure: plain HTTP.
    """

    endpoint: str
    bucket: str
    secret: str
    insecure: bool = False


@dataclass(frozen=True)
class TrainingWorkflow:
    """What decides a training job's workflow. Every field has a default but name, image and volume.

    Attributes:
        name: the job's.
        image: with Python, Unsloth and this SDK: `jupyter-fine-tuning`, or the project's own image.
        claim: the PersistentVolumeClaim with the job's folder: recipe, rows, checkpoints, model.
        work: `recipe`, or `function` for a bundle in the image or the folder.
        recipe: where the recipe lies in the pod.
        folder: within the claim; the job's name by default.
        payload: the ConfigMap whose `payload.tar.gz` is unpacked into the folder first.
        bundle: where a function's bundle lies in the pod.
        gpus: each training pod asks for.
        node_selector: labels of the nodes to train on; without any, wherever the GPUs are free.
        memory, cpu: requested, and for memory the limit as well.
        retries: how often a stage is tried again; training goes on from its checkpoint.
        env: plain variables.
        secret: the Secret whose keys become variables.
        keep: seconds that a workflow stays after its end.
        service_account: of its pods; Argo needs `workflowtaskresults` create and patch.
        artifacts: the bucket that the model goes to, if any.
        deploy: a command that runs last, with the result's path in `THINKUBE_RESULT`.
        pod: a patch of every pod's spec, such as volumes or a priority.
    """

    name: str
    image: str
    claim: str
    work: str = "recipe"
    recipe: str = f"{WORK}/recipe.yaml"
    folder: str | None = None
    payload: str | None = None
    bundle: str = "/app"
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    experiment: str | None = None
    gpus: int = 1
    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    memory: str = "16Gi"
    cpu: str = "2"
    retries: int = 3
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    secret: str | None = None
    keep: int = 7 * _DAY
    service_account: str | None = None
    artifacts: Artifacts | None = None
    deploy: Sequence[str] = ()
    pod: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def template(self) -> WorkflowTemplate:
        """The WorkflowTemplate of that name; `to_yaml()` writes it for a repository."""
        from hera.workflows import WorkflowTemplate

        return WorkflowTemplate(name=self.name, labels=self._labels(), **self._spec())

    def workflow(self) -> Workflow:
        """One run of it."""
        from hera.workflows import Workflow

        return Workflow(generate_name=f"{self.name}-", labels=self._labels(), **self._spec())

    def _labels(self) -> dict[str, str]:
        return {JOB_LABEL: self.name, "app.kubernetes.io/managed-by": "thinkube"}

    def _spec(self) -> dict[str, Any]:
        from hera.workflows import DAG, models

        stages = self._stages()
        with DAG(name="job") as dag:
            tasks = _tasks([str(stage.name) for stage in stages])
        dag.tasks = tasks
        return {
            "entrypoint": "job",
            "on_exit": "ended",
            "templates": [dag, *stages, self._ended()],
            "service_account_name": self.service_account,
            "automount_service_account_token": None,
            "workflow_metadata": models.WorkflowMetadata(labels=self._labels()),
            "pod_metadata": models.Metadata(labels=self._labels()),
            "security_context": models.PodSecurityContext(
                run_as_non_root=True,
                run_as_user=65532,
                run_as_group=65532,
                fs_group=65532,
                seccomp_profile=models.SeccompProfile(type="RuntimeDefault"),
            ),
            "ttl_strategy": models.TTLStrategy(seconds_after_completion=self.keep),
            "pod_spec_patch": json.dumps({"terminationGracePeriodSeconds": 300, **self.pod}),
            "volumes": self._volumes(),
        }

    def _stages(self) -> list[Container]:
        if self.work == "function":
            call = ["--bundle", self.bundle, "--work", _RUN, "--name", self.name]
            call += ["--parameters", json.dumps(dict(self.parameters))]
            call += ["--experiment", self.experiment] if self.experiment else []
            entry = ["python", "-P", "-m", "thinkube.training.function", "run", *call]
            run = self._container("train", entry, gpu=True, outputs={"returned": f"{_RUN}/returned.json"})
            return [self._unpack(), run] if self.payload else [run]
        entry = [
            "python",
            "-m",
            "thinkube.training",
            f"{WORK}/recipe.yaml",
            "--work",
            _RUN,
            "--name",
            self.name,
        ]
        prepare = [*entry, "--stage", "prepare"]
        if self.payload:
            prepare = ["python", "-m", "thinkube.training.pods", "unpack", "--into", WORK, "--", *prepare]
        stages = [
            self._container("prepare", prepare, payload=True),
            self._container("train", [*entry, "--stage", "train"], gpu=True),
            self._container(
                "evaluate",
                [*entry, "--stage", "evaluate"],
                gpu=True,
                outputs={"evaluation": f"{_RUN}/evaluation.json"},
            ),
            self._container(
                "register",
                [*entry, "--stage", "register"],
                outputs={"result": f"{_RUN}/result.json"},
                model=True,
            ),
        ]
        return [*stages, *([self._container("deploy", list(self.deploy))] if self.deploy else [])]

    def _unpack(self) -> Container:
        return self._container(
            "prepare", ["python", "-m", "thinkube.training.pods", "unpack", "--into", WORK], payload=True
        )

    def _ended(self) -> Container:
        """Marks the MLflow run when a pod could not do so itself: evicted, out of memory, never started."""
        command = ["python", "-m", "thinkube.training.pods", "ended", "--work", _RUN]
        return self._container(
            "ended",
            [*command, "--status", "{{workflow.status}}", "--failures", "{{workflow.failures}}"],
            outputs={"state": f"{_RUN}/state.json"},
        )

    def _container(
        self,
        name: str,
        command: list[str],
        *,
        gpu: bool = False,
        payload: bool = False,
        model: bool = False,
        outputs: Mapping[str, str] | None = None,
    ) -> Container:
        from hera.workflows import Container, Resources, RetryStrategy, models

        gpus = self.gpus if gpu else 0
        mounts = [
            models.VolumeMount(name="work", mount_path=WORK, sub_path=self.folder or self.name),
            models.VolumeMount(name="scratch", mount_path="/tmp"),
            models.VolumeMount(name="memory", mount_path="/dev/shm"),
        ]
        if payload and self.payload:
            mounts.append(models.VolumeMount(name="payload", mount_path="/payload", read_only=True))
        return Container(
            name=name,
            image=self.image,
            command=command[:1],
            args=command[1:],
            working_dir=WORK,
            env=[models.EnvVar(name=key, value=value) for key, value in self._variables().items()],
            env_from=[models.EnvFromSource(secret_ref=models.SecretEnvSource(name=self.secret))]
            if self.secret
            else None,
            volume_mounts=mounts,
            resources=Resources(
                cpu_request=self.cpu,
                memory_request=self.memory,
                memory_limit=self.memory,
                gpus=gpus or None,
            ),
            node_selector=dict(self.node_selector) if gpu and self.node_selector else None,
            tolerations=[models.Toleration(key=GPU, operator="Exists", effect="NoSchedule")]
            if gpus
            else None,
            retry_strategy=RetryStrategy(
                limit=self.retries,
                retry_policy="Always",
                expression=_AGAIN,
                backoff=models.Backoff(duration="5s", factor=models.IntOrString(2), max_duration="5m"),
            ),
            outputs=self._outputs(outputs or {}, model),
            security_context=models.SecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=models.Capabilities(drop=["ALL"]),
            ),
        )

    def _outputs(self, files: Mapping[str, str], model: bool) -> list[Any]:
        from hera.workflows import Parameter, S3Artifact, models

        found: list[Any] = [
            Parameter(name=name, value_from=models.ValueFrom(path=path, default=""))
            for name, path in files.items()
        ]
        if model and self.artifacts:
            place = self.artifacts
            found.append(
                S3Artifact(
                    name="model",
                    path=f"{_RUN}/model",
                    endpoint=place.endpoint,
                    bucket=place.bucket,
                    insecure=place.insecure,
                    key=f"{self.name}/{{{{workflow.name}}}}/model.tgz",
                    access_key_secret=models.SecretKeySelector(name=place.secret, key="access-key"),
                    secret_key_secret=models.SecretKeySelector(name=place.secret, key="secret-key"),
                )
            )
        return found

    def _variables(self) -> dict[str, str]:
        return {
            "HOME": "/tmp",
            "HF_HOME": f"{WORK}/cache/huggingface",
            "THINKUBE_CACHE": f"{WORK}/cache",
            "THINKUBE_CHECKPOINTS": f"{_RUN}/checkpoints",
            "THINKUBE_RESULT": f"{_RUN}/result.json",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.env,
        }

    def _volumes(self) -> list[Any]:
        from hera.workflows import models

        claim = models.PersistentVolumeClaimVolumeSource(claim_name=self.claim)
        found = [
            models.Volume(name="work", persistent_volume_claim=claim),
            models.Volume(name="scratch", empty_dir=models.EmptyDirVolumeSource()),
            # Workers that load data hand it over through shared memory; a pod's own is 64 MB.
            models.Volume(name="memory", empty_dir=models.EmptyDirVolumeSource(medium="Memory")),
        ]
        if self.payload:
            source = models.ConfigMapVolumeSource(name=self.payload)
            found.append(models.Volume(name="payload", config_map=source))
        return found


def _tasks(names: Sequence[str]) -> list[Any]:
    from hera.workflows import Task

    return [
        Task(name=name, template=name, dependencies=[names[number - 1]] if number else None)
        for number, name in enumerate(names)
    ]
