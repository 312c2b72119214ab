"""The evaluation gate: a candidate answers a dataset before it takes traffic, and is refused below a bar."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkube.bundles.environments import environment, read_lock
from thinkube.model.errors import EvaluationFailed, UsageError
from thinkube.model.settings import API_KEYS, STATE
from thinkube.targets.child import Child
from thinkube.targets.scores import Metric, Question, Score, metrics_of, questions_of, same
from thinkube.targets.target import Progress

if TYPE_CHECKING:
    import httpx

_AT_ONCE = 4
_SECONDS = 330.0
_START_SECONDS = 120.0
_TOLD = 3  # of the worst answers


@dataclass(frozen=True)
class Gate:
    """A dataset, how answers to it are scored, and the bar.

    Attributes:
        questions: what is asked, and what is expected.
        metrics: name to a function of output and expectation; more is better.
        require: the least mean of a metric.
        digest: of the dataset: scores on another can't be compared.
    """

    questions: tuple[Question, ...]
    metrics: Mapping[str, Metric]
    require: Mapping[str, float]
    digest: str

    def scores(
        self, bundle: Path, variables: Mapping[str, str], say: Progress
    ) -> tuple[dict[str, float], tuple[Score, ...]]:
        """Let a bundle answer, in a process of its own on this machine, and score it.

        Returns:
            The mean of each metric, and every answer with its scores. A question that the agent fails on
            has 0 in all.
        """
        say(f"asking {bundle.name[:12]} {len(self.questions)} questions")
        python = environment(read_lock(bundle), say)
        with Served(python, bundle, variables) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            answered = tuple(pool.map(lambda question: self._score(client, question), self.questions))
        means = {name: sum(each.values[name] for each in answered) / len(answered) for name in self.metrics}
        return means, answered

    def _score(self, client: httpx.Client, question: Question) -> Score:
        reply = client.post("/invoke", json={"input": question.given})
        if reply.status_code != 200:
            error = str(reply.json()["error"]["message"]).partition(" The log has")[0]
            return Score(question, None, dict.fromkeys(self.metrics, 0.0), error)
        output = reply.json()["output"]
        values = {}
        for name, metric in self.metrics.items():
            value = metric(output, question.expected)
            if isinstance(value, bool | int | float) and value == value:
                values[name] = float(value)
            else:
                raise UsageError(
                    f"The metric {name} gave {value!r}.", "It has to give a number, or True or False."
                )
        return Score(question, output, values)

    def judge(
        self,
        name: str,
        means: Mapping[str, float],
        answered: Sequence[Score],
        running: Mapping[str, float] | None,
    ) -> None:
        """Refuse what is below the bar, or below what runs now.

        Raises:
            EvaluationFailed: it is.
        """
        below = [
            f"{metric} is {means[metric]:.3f}, and {bar:.3f} is required"
            for metric, bar in self.require.items()
            if means[metric] < bar
        ]
        below += [
            f"{metric} is {means[metric]:.3f}, and the running release has {before:.3f}"
            for metric, before in (running or {}).items()
            if metric in means and means[metric] < before and not same(means[metric], before)
        ]
        if below:
            ordered = sorted(answered, key=_total)
            worst = [score for score in ordered[:_TOLD] if _total(score) < _total(ordered[-1])] or ordered[:1]
            lines = "".join(f"\n  {score}" for score in worst)
            raise EvaluationFailed(
                f"{name} is not deployed: {'; '.join(below)}. Its worst answers of {len(answered)}:{lines}",
                "Improve it, or lower the bar with require=. What ran before still does.",
            )


def _total(score: Score) -> float:
    return sum(score.values.values())


def gate(
    evaluate: Any, metrics: Sequence[str | Callable[..., float]] | None, require: Mapping[str, float] | None
) -> Gate:
    """Read what `tk.deploy(evaluate=, metrics=, require=)` was given, before anything else is done.

    Raises:
        UsageError: a row, a metric or a bar can't be what is said.
        DataInvalid: the file can't be read.
    """
    questions = questions_of(evaluate)
    chosen = metrics_of(metrics or list(require or ("exact_match",)))
    if unknown := sorted(set(require or {}) - set(chosen)):
        raise UsageError(f"require= has {', '.join(unknown)}, which is not in metrics=.", "Name it in both.")
    text = json.dumps([[each.given, each.expected] for each in questions], sort_keys=True, default=str)
    return Gate(questions, chosen, dict(require or {}), hashlib.sha256(text.encode()).hexdigest())


class Served:
    """A bundle that serves on this machine for as long as it is asked, with no part in any deployment."""

    def __init__(self, python: Path, bundle: Path, variables: Mapping[str, str]) -> None:
        self._python = python
        self._bundle = bundle
        self._variables = variables

    def __enter__(self) -> httpx.Client:
        import httpx

        self._folder = tempfile.TemporaryDirectory(prefix="thinkube-evaluation-")
        folder, key = Path(self._folder.name), secrets.token_urlsafe(32)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_SECONDS, trust_env=False)
        own = {API_KEYS.variable: key, STATE.variable: str(folder / "state")}
        argv = [str(self._python), "-P", "-m", "thinkube.serving", "--bundle", str(self._bundle)]
        self._child = Child(
            [*argv, "--socket-fd", str(listener.fileno())],
            {"PATH": os.environ.get("PATH", ""), **self._variables, **own},
            folder / "log",
            ready=self._ready,
            cwd=folder,
            pass_fds=(listener.fileno(),),
        )
        listener.close()
        try:
            self._child.wait_ready(_START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._child.stop(5.0)
        self._folder.cleanup()

    def _ready(self) -> bool:
        import httpx

        try:
            return self._client.get("/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
            return False
