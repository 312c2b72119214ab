"""The API of a context's Kubernetes cluster: objects as mappings, errors translated, loss survived."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from thinkube.model.errors import (
    AccessDenied,
    ClientMissing,
    ClusterError,
    ClusterUnreachable,
    ConfigurationError,
)
from thinkube.services.contexts import IN_CLUSTER, Context, current
from thinkube.services.kubernetes_kinds import path_of

if TYPE_CHECKING:
    import httpx
    from kubernetes.client import ApiClient, Configuration

Object = dict[str, Any]
Query = Sequence[tuple[str, str]]

MANAGER = "thinkube"
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 60.0
# How long a cluster that answered before may be gone, as while its API server restarts.
LOST_SECONDS = 90.0
# A server that has just started may refuse what its roles allow, until it has read them.
WARM_UP_SECONDS = 15.0
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_BUSY = (429, 502, 503, 504)


class Refused(ClusterError):
    """The API answers with an error: `status` is HTTP's, `reason` is Kubernetes' word for it."""

    def __init__(self, status: int, reason: str, cause: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(cause, "See the message; `kubectl` shows the object as the cluster has it.")


class KubernetesApi:
    """One cluster's API, as one context reaches it.

    Example:
        api = connect("team")
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}})
        api.client  # for the typed classes of the `kubernetes` package
    """

    def __init__(self, context: Context, configuration: Configuration, namespace: str) -> None:
        from kubernetes.client import ApiClient

        self.context = context
        self.namespace = namespace
        self.server: str = configuration.host
        configuration.retries = False  # which request may be repeated is decided here
        self.client: ApiClient = ApiClient(configuration)
        self._configuration = configuration
        self._answered = False
        self._lost_at = float("-inf")

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None where there is none."""
        try:
            return self._json("GET", path_of(kind, namespace or self.namespace, name))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """Every object of a kind in a namespace; in all of them with `namespace="*"`. One request."""
        query = [("labelSelector", labels)] if labels else []
        query += [("fieldSelector", fields)] if fields else []
        found = self._json("GET", path_of(kind, namespace or self.namespace), query)
        return [{"kind": kind, **each} for each in found.get("items") or []]

    def apply(self, wanted: Object, *, dry_run: bool = False, manager: str = MANAGER) -> Object:
        """Server-side apply: make the object so, and own its fields. A dry run only checks."""
        metadata = wanted["metadata"]
        path = path_of(wanted["kind"], metadata.get("namespace") or self.namespace, metadata["name"])
        query = [("fieldManager", manager), ("force", "true")]
        query += [("dryRun", "All"), ("fieldValidation", "Strict")] if dry_run else []
        return self._json("PATCH", path, query, wanted, "application/apply-patch+yaml")

    def create(self, wanted: Object, namespace: str | None = None) -> Object:
        """Make an object that must not be there yet; `generateName` lets the cluster name it.

        Not repeated when the connection breaks: it may have been made.
        """
        namespace = namespace or wanted["metadata"].get("namespace") or self.namespace
        path = path_of(wanted["kind"], namespace)
        return self._json("POST", path, [("fieldManager", MANAGER)], wanted)

    def patch(
        self, kind: str, name: str, change: Object, namespace: str | None = None, part: str = ""
    ) -> Object:
        """Merge a change into an object, or into a `part` of it such as `status` or `scale`."""
        path = path_of(kind, namespace or self.namespace, name) + (f"/{part}" if part else "")
        return self._json("PATCH", path, [("fieldManager", MANAGER)], change, "application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str | None = None) -> bool:
        """Remove an object, and then what it owns; whether there was one."""
        options = {"propagationPolicy": "Background"}
        try:
            self._json("DELETE", path_of(kind, namespace or self.namespace, name), (), options)
        except Refused as error:
            if error.status != 404:
                raise
            return False
        return True

    def allowed(self, verb: str, kind: str, namespace: str | None = None) -> bool:
        """Whether who asks may do that."""
        path = path_of(kind, "")
        group, resource = ("", path) if path.startswith("/api/") else (path.split("/")[2], path)
        attributes = {"verb": verb, "group": group, "resource": resource.rsplit("/", 1)[1]}
        if namespace != "*":
            attributes["namespace"] = namespace or self.namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._json("POST", path, (), review)["status"].get("allowed"))

    def text(self, path: str, query: Query = ()) -> str:
        """What a path answers, as text."""
        return str(self._send("GET", path, query).data.decode(errors="replace"))

    def lines(self, path: str, query: Query = ()) -> Iterator[str]:
        """What a path answers, line by line while it comes."""
        reply = self._send("GET", path, query, seconds=None)
        rest = b""
        try:
            for piece in reply.stream(65536, decode_content=True):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
        finally:
            reply.close()

    def http(self, path: str, timeout: float) -> httpx.Client:
        """A client of what a path of the API leads to, such as a Service behind its proxy."""
        import httpx

        made = self._configuration
        verify = ssl.create_default_context(cafile=made.ssl_ca_cert) if made.verify_ssl else _unverified()
        if made.cert_file:
            verify.load_cert_chain(made.cert_file, made.key_file)
        headers: dict[str, str] = {}
        self.client.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{self.server}{path}"
        return httpx.Client(base_url=url, verify=verify, headers=headers, timeout=timeout, trust_env=False)

    def _json(
        self, method: str, path: str, query: Query = (), body: Object | None = None, kind: str = ""
    ) -> Object:
        reply = self._send(method, path, query, body, kind)
        read: Object = json.loads(reply.data)
        return read

    def _send(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Object | None = None,
        kind: str = "",
        *,
        seconds: float | None = REQUEST_SECONDS,
    ) -> Any:
        """Ask, again while the connection is lost or the server busy. All but POST may be asked twice."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json, */*", "Content-Type": kind or "application/json"}
        deadline, pause = time.monotonic() + LOST_SECONDS, 0.1
        while True:
            try:
                reply = self.client.call_api(
                    path, method, {}, list(query), headers, body, auth_settings=["BearerToken"],
                    _return_http_data_only=True, _preload_content=False,
                    _request_timeout=(CONNECT_SECONDS, seconds),
                )  # fmt: skip
                self._answered = True
                return reply
            except HTTPError as error:
                self._lost_at = time.monotonic()
                if not self._answered or method == "POST" or time.monotonic() > deadline:
                    raise self._unreachable(error) from error
            except ApiException as error:
                starting = error.status in (401, 403) and time.monotonic() - self._lost_at < WARM_UP_SECONDS
                if not (error.status in _BUSY or starting) or time.monotonic() > deadline:
                    raise self._refused(method, path, error) from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _unreachable(self, error: Exception) -> ClusterUnreachable:
        reason = getattr(error, "reason", None) or error
        return ClusterUnreachable(
            f"The cluster of the context {self.context.name} does not answer at {self.server}: {reason}.",
            "Is it up, and is this machine on its network? `kubectl cluster-info` asks the same.",
        )

    def _refused(self, method: str, path: str, error: Any) -> ClusterError:
        try:
            told = json.loads(error.body)
        except (TypeError, ValueError):
            told = {}
        message = str(told.get("message") or error.reason or "no reason given").rstrip(".")
        if error.status == 401:
            return AccessDenied(
                f"The cluster of the context {self.context.name} ({self.server}) does not know who asks: "
                f"{message}. The credential has expired or belongs to another cluster.",
                "Log in to the cluster again, as you did for kubectl; in a pod, restart the notebook server.",
            )
        if error.status == 403:
            return AccessDenied(
                f"The cluster of the context {self.context.name} forbids it: {message}.",
                "Ask its administrator for a Role that allows this; "
                "`kubectl auth can-i --list` shows what you may do.",
            )
        return Refused(
            error.status, str(told.get("reason") or ""), f"{method} {path}: {error.status} {message}."
        )


def connect(context: Context | str | None = None) -> KubernetesApi:
    """The API of a context's cluster; nothing is asked of it yet.

    Args:
        context: the context or its name; the one that holds if not given.

    Raises:
        ConfigurationError: the context has no cluster, or its kubeconfig can't be used.
        ClientMissing: the `kubernetes` package is not installed.
    """
    context = context if isinstance(context, Context) else current(context)
    place = context.kubernetes
    if place is None:
        raise ConfigurationError(
            f"The context {context.name} has no Kubernetes cluster.",
            f"Describe one in {context.path}, such as:\n"
            f'[contexts.{context.name}.kubernetes]\nkubeconfig = "~/.kube/config"\nregistry = "host:port"',
        )
    try:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ImportError as error:
        raise ClientMissing(
            "The Python package `kubernetes` is not installed here.",
            "Install it: pip install 'thinkube-sdk[kubernetes]'",
        ) from error
    configuration = client.Configuration()
    if context.name == IN_CLUSTER and not place.kubeconfig:
        try:
            config.load_incluster_config(configuration)
        except ConfigException as error:
            raise ConfigurationError(
                f"The context {IN_CLUSTER} is for pods with a service account's token: {error}",
                "Let the pod mount its service account's token, or name a `kubeconfig`.",
            ) from error
        own = _ACCOUNT / "namespace"
        return KubernetesApi(context, configuration, place.namespace or own.read_text().strip())
    files = place.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = os.pathsep.join(str(Path(file).expanduser()) for file in files.split(os.pathsep) if file)
    try:
        config.load_kube_config(files, place.context, configuration, persist_config=False)
        known, active = config.list_kube_config_contexts(files)
    except (ConfigException, OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"The kubeconfig {files} of the context {context.name} can't be used: {error}",
            f"Correct `kubeconfig` and `context` under [contexts.{context.name}.kubernetes] in "
            f"{context.path}.",
        ) from error
    chosen = next((each for each in known if each["name"] == place.context), active)
    namespace = place.namespace or chosen["context"].get("namespace") or "default"
    return KubernetesApi(context, configuration, namespace)


def log_path(pod: str, namespace: str) -> str:
    """The path of a pod's log."""
    return f"{path_of('Pod', namespace, pod)}/log"


def proxy_path(service: str, namespace: str) -> str:
    """The path under which the API passes requests on to a Service's port `http`."""
    return f"/api/v1/namespaces/{namespace}/services/{quote(f'{service}:http', safe=':')}/proxy"


def owner_of(each: Mapping[str, Any]) -> str:
    """The uid of what an object belongs to; empty where it stands for itself."""
    owners = each["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
