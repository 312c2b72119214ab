"""The handle to a deployed agent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from thinkube.model.errors import DeploymentError, RequestFailed, UsageError
from thinkube.model.release import Release
from thinkube.targets.keys import KeyRing
from thinkube.targets.lines import parsed, readable
from thinkube.targets.target import State, Status, Target

if TYPE_CHECKING:
    import httpx

    from thinkube.bundles.compare import Difference

REQUEST_SECONDS = 330.0


class Releases(tuple[Release, ...]):
    """Releases, oldest first, that show as a table."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{release.version}</td><td>{_moment(release.created)}</td><td>{release.digest[:12]}</td>"
            f"<td>{escape(release.lineage.get('notebook', ''))}</td></tr>"
            for release in reversed(self)
        )
        return f"<table><tr><th>version</th><th>created</th><th>digest</th><th>from</th></tr>{rows}</table>"


class Deployment:
    """A deployed agent: its URL stays the same over all its releases.

    Example:
        deployment = tk.deployment("docs-agent")
        deployment.ask("What does zip do?")
        deployment.rollback()
    """

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self._target = target

    @property
    def url(self) -> str:
        """Where it answers: `/invoke`, `/stream`, `/v1` for OpenAI's clients, `/docs`."""
        return self._now().url

    @property
    def status(self) -> State:
        """`running`, `starting`, `restarting`, `crash loop` or `stopped`."""
        return self._now().state

    @property
    def release(self) -> Release:
        """The release that has the traffic."""
        return self._now().release

    @property
    def key(self) -> str:
        """Your own key: `OpenAI(base_url=f"{deployment.url}/v1", api_key=deployment.key)`."""
        return self.keys.own()

    @property
    def keys(self) -> KeyRing:
        """Keys for others: `.create("ci")`, `.list()`, `.revoke("ci")`."""
        self._now()
        return self._target.keys(self.name)

    def ask(self, text: str, *, session: str | None = None) -> str:
        """Ask in words and get the answer's text.

        Raises:
            RequestFailed: the agent raised, takes no text, or does not answer.
        """
        body: dict[str, Any] = {"model": self.name, "messages": [{"role": "user", "content": text}]}
        reply = self._post("/v1/chat/completions", {**body, "session": session} if session else body)
        return str(reply["choices"][0]["message"]["content"])

    def invoke(self, given: Any, *, session: str | None = None, user: str | None = None) -> Any:
        """Call it with the input its object takes, and get what the object returns, as JSON values.

        Raises:
            RequestFailed: the input does not fit, the agent raised, or it does not answer.
        """
        return self._post("/invoke", _envelope(given, session, user))["output"]

    def stream(
        self, given: Any, *, session: str | None = None, user: str | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Call it and get what happens as pairs of event and data; the last event is `output`.

        Raises:
            RequestFailed: as `invoke`.
        """
        import httpx

        try:
            with (
                self._target.http(self.name, REQUEST_SECONDS) as client,
                client.stream("POST", "/stream", json=_envelope(given, session, user)) as reply,
            ):
                if reply.status_code != 200:
                    reply.read()
                    raise self._failed(reply.status_code, _json(reply))
                event = ""
                for line in reply.iter_lines():
                    key, _, value = line.partition(": ")
                    if key == "event":
                        event = value
                    elif key == "data" and event == "error":
                        raise self._failed(500, json.loads(value))
                    elif key == "data":
                        yield event, json.loads(value)
        except httpx.TransportError as error:
            raise self._silent(error) from error

    def logs(self, *, follow: bool = False, raw: bool = False) -> Iterator[str]:
        """The lines it has logged, and with `follow` those to come.

        Args:
            raw: as they are in the file, JSON lines, rather than for people.
        """
        lines = self._target.logs(self.name, follow=follow)
        return lines if raw else map(readable, lines)

    def history(self) -> Releases:
        """Its releases, oldest first."""
        from thinkube.bundles.registry import releases

        return Releases(releases(self.name))

    def diff(self, before: int | None = None, after: int | None = None) -> Difference:
        """What differs between two releases: code, lock and configuration.

        Args:
            before: the older; the one before `after` if not given.
            after: the newer; the one that has the traffic if not given.

        Raises:
            UsageError: there is no such release.
            BundleError: one of them was removed from the store.

        Example:
            print(tk.deployment("docs-agent").diff(1, 2))
        """
        from thinkube.bundles.compare import compare
        from thinkube.bundles.store import Store

        newer = self.release if after is None else self._released(after)
        older = self._before(newer) if before is None else self._released(before)
        folders = [Store().get(release.digest) for release in (older, newer)]
        return compare(folders[0], folders[1], (f"release {older.version}", f"release {newer.version}"))

    def rollback(self, version: int | None = None) -> Deployment:
        """Run an earlier release again.

        Args:
            version: which; the one before the current if not given.

        Raises:
            UsageError: there is no such release.
            RolloutFailed: it did not get ready. What ran before still does.
        """
        from thinkube.targets.rollout import roll_back

        chosen = self._before(self.release) if version is None else self._released(version)
        roll_back(self._target, chosen)
        return self

    def delete(self) -> None:
        """Stop it and remove its processes, logs and settings. Its releases stay in the registry."""
        self._target.delete(self.name)

    def to_dict(self) -> dict[str, Any]:
        """Everything known about it, for programs."""
        now = self._now()
        return {
            "name": now.name,
            "url": now.url,
            "status": now.state,
            "version": now.release.version,
            "digest": now.release.digest,
            "created": now.release.created,
            "pid": now.pid,
            "restarts": now.restarts,
            "detail": now.detail,
            "registry": now.release.registry,
            "lineage": dict(now.release.lineage),
        }

    def __repr__(self) -> str:
        try:
            now = self._now()
        except DeploymentError as error:
            return f"<Deployment {self.name}: {error.cause}>"
        detail = f"\n{now.detail}" if now.detail else ""
        return f"<Deployment {now.name}: release {now.release.version} {now.state} at {now.url}>{detail}"

    def _repr_html_(self) -> str:
        try:
            now = self._now()
        except DeploymentError as error:
            return f"<p>{escape(error.cause)}</p>"
        color = {"running": "#2a8a3e", "stopped": "#888"}.get(now.state, "#b3541e")
        release = f"{now.release.digest[:12]}, {_moment(now.release.created)}"
        handle = f"tk.deployment({escape(repr(now.name))})"
        openai = f'OpenAI(base_url="{now.url}/v1", api_key={handle}.key)'
        facts = {
            "URL": f'<a href="{now.url}/docs">{now.url}</a>',
            "release": f"{now.release.version} <small>({release})</small>",
            "in Python": f"<code>{handle}.ask(&quot;…&quot;)</code>",
            "OpenAI clients": f"<code>{openai}</code>",
            "HTTP": f"<code>POST {now.url}/invoke</code>",
            "keys for others": f"<code>thinkube keys create {now.name}</code>",
        }
        if now.detail:
            facts["detail"] = f"<pre>{escape(now.detail)}</pre>"
        left = "style='text-align:left'"
        rows = "".join(
            f"<tr><th {left}>{key}</th><td {left}>{value}</td></tr>" for key, value in facts.items()
        )
        state = f"<span style='color:{color}'>● {now.state}</span>"
        return f"<strong>{escape(now.name)}</strong> {state}<table>{rows}</table>"

    def _now(self) -> Status:
        return self._target.status(self.name)

    def _before(self, release: Release) -> Release:
        before = [each for each in self.history() if each.version < release.version]
        if not before:
            raise UsageError(
                f"{self.name} has no release before {release.version}.", "Deploy another one first."
            )
        return before[-1]

    def _released(self, version: int) -> Release:
        known = self.history()
        found = next((release for release in known if release.version == version), None)
        if found is None:
            numbers = ", ".join(str(release.version) for release in known)
            raise UsageError(f"{self.name} has no release {version}.", f"It has {numbers}.")
        return found

    def _post(self, path: str, body: Any) -> Any:
        import httpx

        try:
            with self._target.http(self.name, REQUEST_SECONDS) as client:
                reply = client.post(path, json=body)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if reply.status_code != 200:
            raise self._failed(reply.status_code, _json(reply))
        return reply.json()

    def _failed(self, status: int, body: Any) -> RequestFailed:
        error = body["error"]
        if status == 422:
            return RequestFailed(
                f"{self.name} does not take that input: {error['message']}.", f"See {self.url}/docs"
            )
        cause = f"{self.name} answered {status}: {error['message']}"
        if traceback := self._traceback(error.get("id", "")):
            cause += f"\n{traceback}"
        return RequestFailed(cause, f"The log has more: thinkube logs {self.name}")

    def _traceback(self, trace: str) -> str:
        """What the log has on a failed call: this is our own machine, where its reader may see it."""
        found = ""
        for line in self._target.logs(self.name):
            if trace and trace in line and (entry := parsed(line)) and "traceback" in entry:
                found = str(entry["traceback"]).rstrip()
        return found

    def _silent(self, error: Exception) -> RequestFailed:
        now = self._now()
        return RequestFailed(
            f"{self.name} ({now.state}) does not answer at {now.url}: {error}. {now.detail}".rstrip(),
            f"Look into its log: thinkube logs {self.name}",
        )


def _envelope(given: Any, session: str | None, user: str | None) -> dict[str, Any]:
    return {"input": given, **({"session": session} if session else {}), **({"user": user} if user else {})}


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except json.JSONDecodeError:
        return {"error": {"message": reply.text}}


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
