"""Agents as Deployments of a Kubernetes cluster."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from thinkube.model.errors import ConfigurationError, DeploymentNotFound
from thinkube.model.manifest import read as read_manifest
from thinkube.model.release import Release
from thinkube.services.contexts import Context
from thinkube.services.kubernetes_api import KubernetesApi, Object, connect, proxy_path
from thinkube.services.secrets import known
from thinkube.targets.failure import Failure, NotReady
from thinkube.targets.kubernetes import image, manifests, plan, rollout, secret
from thinkube.targets.kubernetes.bindings import bind
from thinkube.targets.kubernetes.keys import SecretKeys
from thinkube.targets.kubernetes.logs import pod_lines
from thinkube.targets.kubernetes.plan import Plan, Route
from thinkube.targets.kubernetes.reference import Reference, parse
from thinkube.targets.target import Progress, Rollout, State, Status
from thinkube.targets.variables import settings


class KubernetesCandidate:
    """See `Candidate`. Its first pod is ready."""

    notes: tuple[str, ...] = ()

    def __init__(self, target: KubernetesTarget, wanted: Plan, kind: str) -> None:
        self.kind = kind
        self._target = target
        self._plan = wanted
        self.over = False

    def take_over(self, release: Release) -> Status:
        self._target.complete(self._plan.released(release))
        self.over = True
        return self._target.status(release.name)


class KubernetesTarget:
    """Runs each deployment as a Deployment in the namespace of a context's cluster.

    Args:
        progress: told what is being done.
    """

    def __init__(self, context: Context, progress: Progress = lambda _: None) -> None:
        self.api: KubernetesApi = connect(context)
        self.context = context
        self._say = progress

    def names(self) -> list[str]:
        found = self.api.list("Deployment", labels=manifests.SELECTOR)
        return sorted(each["metadata"]["name"] for each in found)

    def prepared(
        self,
        bundle: Path,
        given: Mapping[str, str],
        *,
        timeout: float = 120.0,
        inherit: bool = False,
        release: Release | None = None,
        progress: Progress = lambda _: None,
    ) -> Rollout:
        self._say = progress
        manifest = read_manifest(bundle)
        stored = {name: value for name in manifest.secrets if (value := known(name)) is not None}
        chosen = {**stored, **given}
        return Rollout(manifest.name, bundle, None, settings(), chosen, timeout, inherit, release)

    def plan(
        self, given: Rollout, release: Release, before: Plan | None = None, *, push: bool = True
    ) -> tuple[Plan, dict[str, str]]:
        """What a rollout makes, and the values of its secrets: the image is pushed, nothing else is changed.

        Args:
            release: what it is expected to become.
            before: what runs, for what a rollback inherits.
            push: else nothing is changed at all, as for a look at the manifests.
        """
        manifest = read_manifest(given.bundle)
        bound = bind(self.api, manifest.services, self._say)
        values = {**bound.secrets, **given.variables}
        if before is not None and given.inherit:
            values = {**secret.values(self.api, before.secret), **values}
        made = Plan(
            given.name,
            self.api.namespace,
            self._image(given, release.digest, push=push),
            release,
            owner=_owner(),
            settings={**bound.settings, **given.settings},
            secrets=tuple(sorted(values)),
            egress=bound.egress,
            timeout=given.timeout,
            replicas=manifest.replicas or (before.replicas if before else 1),
            cpu=manifest.cpu or Plan.cpu,
            memory=manifest.memory or Plan.memory,
            pull_secret=self._place("pull_secret") or "",
            route=self._route(given.name),
        )
        return made, values

    @contextmanager
    def candidate(self, given: Rollout) -> Iterator[KubernetesCandidate]:
        before = self.current(given.name)
        release = given.release or Release(given.name, 1, given.bundle.name, time.time(), "")
        wanted, values = self.plan(given, release, before)
        self.keys(given.name).own()  # so that it is never up without one
        kept = secret.keep(self.api, given.name, before.secret if before else "", values)
        wanted = replace(wanted, secret=kept)
        over = False
        try:
            pod = self._start(wanted)
            made = KubernetesCandidate(self, wanted, rollout.kind_of(self.api, pod))
            yield made
            over = made.over
        finally:
            if not over:
                self._restore(given.name, before)
        secret.remove_others(self.api, given.name, kept)

    def _start(self, wanted: Plan) -> Object:
        """Make the objects, and wait for the first new pod that takes requests."""
        self._say(f"starting {wanted.name} in the namespace {wanted.namespace}")
        generation = self.apply(wanted)
        pods: list[Object] = []

        def one_ready(_deployment: Object, seen: list[Object]) -> bool:
            pods[:] = [pod for pod in seen if rollout.ready(pod)]
            return bool(pods)

        self._expect(rollout.wait(self.api, wanted.name, generation, wanted.timeout, one_ready))
        return pods[0]

    def apply(self, wanted: Plan) -> int:
        """Make the cluster's objects what the plan says; the Deployment's generation then."""
        generation = 0
        for each in manifests.objects(wanted):
            made = self.api.apply(each)
            if each["kind"] == "Deployment":
                generation = int(made["metadata"]["generation"])
        return generation

    def complete(self, wanted: Plan) -> None:
        """Write down which release it is, and wait until all pods are of it."""
        generation = self.apply(wanted)
        seconds = wanted.timeout * max(1, wanted.replicas)
        self._expect(rollout.wait(self.api, wanted.name, generation, seconds, rollout.complete))

    def _restore(self, name: str, before: Plan | None) -> None:
        """What ran before, as it was: its pods still run."""
        if before is None:
            self._remove(name)
        else:
            self.apply(before)
            secret.remove_others(self.api, name, before.secret)

    def _expect(self, failure: Failure | None) -> None:
        if failure is not None:
            raise NotReady(failure)

    def status(self, name: str) -> Status:
        deployment = self._deployment(name)
        now = self._plan_of(deployment)
        listed = self.api.list("Pod", labels=f"{manifests.NAME}={name},{manifests.SELECTOR}")
        pods = [pod for pod in listed if not pod["metadata"].get("deletionTimestamp")]
        restarts = sum(
            int(each.get("restartCount", 0))
            for pod in pods
            for each in pod["status"].get("containerStatuses") or []
        )
        detail = "; ".join(filter(None, (_trouble(pod) for pod in pods)))
        counted = deployment.get("status", {})
        state: State = "starting"
        if deployment["spec"].get("replicas") == 0:
            state = "stopped"
        elif counted.get("availableReplicas"):
            state = "running"
        elif "CrashLoopBackOff" in detail:
            state = "crash loop"
        elif restarts:
            state = "restarting"
        return Status(name, self.url(now), state, now.release, None, restarts, detail)

    def url(self, known: Plan) -> str:
        """Where it answers: by its route, or within the cluster."""
        if known.route is not None:
            return f"https://{known.route.host}"
        return f"http://{known.name}.{known.namespace}.svc"

    def http(self, name: str, timeout: float) -> httpx.Client:
        """A client of a deployment: within the cluster directly, from outside by the API's proxy."""
        now = self._plan_of(self._deployment(name))
        if self.context.name == "in-cluster" or now.route is not None:
            client = httpx.Client(base_url=self.url(now), timeout=timeout)
        else:
            client = self.api.http(proxy_path(name, now.namespace), timeout)
        # Not `Authorization`, which is the API server's own.
        client.headers["x-api-key"] = self.keys(name).own()
        return client

    def keys(self, name: str) -> SecretKeys:
        return SecretKeys(self.api, name)

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        self._deployment(name)
        return pod_lines(self.api, f"{manifests.NAME}={name},{manifests.SELECTOR}", follow)

    def drift(self, name: str) -> list[str]:
        """What of a deployment's objects is no longer as it was deployed, by kind and field."""
        now = self._plan_of(self._deployment(name))
        return [
            f"{wanted['kind']} {name}: {path}"
            for wanted in manifests.objects(now)
            for path in _differences(wanted, self.api.get(wanted["kind"], name) or {})
        ]

    def delete(self, name: str) -> None:
        self._deployment(name)
        self._remove(name)

    def _remove(self, name: str) -> None:
        for kind in reversed(manifests.KINDS):
            if kind == "HTTPRoute" and not self._place("gateway"):
                continue  # the cluster may not know that kind
            self.api.delete(kind, name)
        secret.remove_others(self.api, name, "")
        self.keys(name).remove()

    def current(self, name: str) -> Plan | None:
        """What a deployment consists of now; None if there is none."""
        deployment = self.api.get("Deployment", name)
        return self._plan_of(deployment) if deployment is not None else None

    def _deployment(self, name: str) -> Object:
        found = self.api.get("Deployment", name)
        if found is None or plan.ANNOTATION not in found["metadata"].get("annotations", {}):
            raise DeploymentNotFound(
                f"There is no deployment {name!r} in the namespace {self.api.namespace} of the context "
                f"{self.context.name}. There are: {', '.join(self.names()) or 'none'}.",
                f'Deploy one with: tk.deploy(agent, name="{name}", on="{self.context.name}")',
            )
        return found

    def _plan_of(self, deployment: Object) -> Plan:
        text = deployment["metadata"].get("annotations", {}).get(plan.ANNOTATION)
        name = deployment["metadata"]["name"]
        if text is None:
            raise ConfigurationError(
                f"The Deployment {name} in the namespace {self.api.namespace} was not made by Thinkube.",
                'Choose another name: tk.deploy(agent, name="…")',
            )
        read = plan.read(text, f"the Deployment {name}")
        # Someone may have scaled it since; an autoscaler always does.
        live = deployment["spec"].get("replicas")
        return replace(read, replicas=live) if live and not read.most else read

    def _image(self, given: Rollout, digest: str, *, push: bool) -> str:
        registry, runtime = self._needed("registry"), self._needed("runtime")
        place = parse(f"{registry}/{self.api.namespace}/{given.name}:{digest[:12]}")
        made: Reference = image.push(given.bundle, place, runtime, self._say, dry_run=not push)
        pull = self._place("pull")
        return str(made) if pull is None else str(made).replace(registry, pull, 1)

    def _route(self, name: str) -> Route | None:
        host = self._place("host")
        if host is None:
            return None
        told = host.replace("{name}", name).replace("{namespace}", self.api.namespace)
        return Route(urlsplit(f"//{told}").netloc, self._place("gateway") or "")

    def _place(self, key: str) -> str | None:
        value: str | None = getattr(self.context.kubernetes, key)
        return value

    def _needed(self, key: str) -> str:
        if (value := self._place(key)) is None:
            raise ConfigurationError(
                f"The context {self.context.name} names no `{key}` for its cluster.",
                f"Add it under [contexts.{self.context.name}.kubernetes] in {self.context.path}.",
            )
        return value


def _owner() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a pod's user need not have a name
        return ""


def _trouble(pod: Object) -> str:
    """What keeps a pod from serving, in a few words."""
    for status in pod["status"].get("containerStatuses") or []:
        waiting = status["state"].get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{pod['metadata']['name']}: {waiting['reason']}: {waiting.get('message', '')}"
    return ""


def _differences(wanted: object, live: object, path: str = "") -> Iterator[str]:
    """Where an object is not as wanted; what is only in the live one is the cluster's own."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            yield from _differences(value, live.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for number, (each, other) in enumerate(zip(wanted, live, strict=True)):
            yield from _differences(each, other, f"{path}[{number}]")
    elif wanted not in (live, {}, []) or (wanted != live and live):
        yield path
