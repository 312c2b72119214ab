"""The run in MLflow: made once, taken up again after a crash, fed without holding up the training."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.model.errors import ServiceError, ServiceNotFound
from thinkube.model.evaluation import Evaluation
from thinkube.model.recipe import Recipe
from thinkube.training.split import Split, digest

_PATIENCE = 60.0


@dataclass(frozen=True)
class Registered:
    """A version in MLflow's registry."""

    version: int
    source: str
    registry: str


class Tracking:
    """One run in MLflow. Metrics go there from a thread of their own."""

    def __init__(self, client: Any, url: str, run: str, sent: int) -> None:
        self._client = client
        self._url = url
        self.run = run
        self._sent = sent
        self._waiting: queue.Queue[tuple[int, Mapping[str, float], float] | None] = queue.Queue()
        self._lost: Exception | None = None
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._ship, name="mlflow-metrics", daemon=True)
        self._thread.start()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send one step's metrics; a step that is there already, from before a crash, is not sent again."""
        if step > self._sent:
            self._sent = step
            self._waiting.put((step, dict(values), time.time()))

    def drain(self) -> None:
        """Wait until every metric is there.

        Raises:
            ServiceError: MLflow does not take them.
        """
        self._deadline = time.monotonic() + _PATIENCE
        self._waiting.put(None)
        self._thread.join()
        if self._lost is not None:
            raise ServiceError(
                f"MLflow at {self._url} did not take the run's metrics: {self._lost}",
                "They are in metrics.jsonl. When MLflow is back, resume the job: it sends what is missing.",
            ) from self._lost

    def describe(self, recipe: Recipe, rows: Split, environment: str, files: Mapping[str, str]) -> None:
        """Log what decides the run: parameters, data, environment, code."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        values = recipe.model_dump(mode="json", exclude={"format", "trainer", "loader", "lora"})
        values |= {
            f"{part}.{key}": each
            for part in ("trainer", "loader", "lora")
            for key, each in getattr(recipe, part).items()
        }
        # MLflow keeps the first value of a parameter; a resumed run logs the same ones.
        self._client.log_batch(
            self.run, params=[Param(key, str(value)[:6000]) for key, value in values.items()]
        )
        inputs = [
            DatasetInput(
                Dataset(
                    name=Path(recipe.data).name,
                    digest=digest(part)[:36],
                    source_type="local",
                    source=str({"path": recipe.data}).replace("'", '"'),
                    profile=f'{{"num_rows": {len(part)}}}',
                ),
                [InputTag("mlflow.data.context", context)],
            )
            for part, context in ((rows.train, "training"), (rows.held_out, "evaluation"))
            if part
        ]
        self._client.log_inputs(self.run, inputs)
        self._client.log_text(self.run, recipe.to_yaml(), "recipe.yaml")
        self._client.log_text(self.run, environment, "environment/requirements.txt")
        for name, text in files.items():
            self._client.log_text(self.run, text, f"code/{name}")

    def evaluation(self, evaluation: Evaluation) -> None:
        """Log base against tuned, with the table of examples."""
        for which, values in (("base", evaluation.base), ("tuned", evaluation.tuned)):
            for key, value in values.items():
                self._client.log_metric(self.run, f"{which}/{key}", value)
        columns = ("prompt", "expected", "base", "tuned")
        table = {name: [getattr(example, name) for example in evaluation.examples] for name in columns}
        if evaluation.examples:
            self._client.log_table(self.run, table, "examples.json")

    def register(self, name: str, model: Path, digest: str, lineage: Mapping[str, str]) -> Registered:
        """Keep the model with the run, and give it the next version of its name; done before, the same."""
        from mlflow.exceptions import MlflowException

        for version in self._client.search_model_versions(f"run_id='{self.run}'"):
            if version.name == name and version.tags.get("thinkube.digest") == digest:
                return Registered(int(version.version), version.source, self._url)
        self._client.log_artifacts(self.run, str(model), "model")
        try:
            self._client.create_registered_model(
                name, {"thinkube.kind": "Model"}, "A model tuned with Thinkube."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(self.run).info.artifact_uri}/model"
        tags = {
            "thinkube.digest": digest,
            **{f"thinkube.lineage.{key}": value for key, value in lineage.items()},
        }
        made = self._client.create_model_version(name, source, self.run, tags=tags)
        return Registered(int(made.version), source, self._url)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run, status)

    def _ship(self) -> None:
        from mlflow.entities import Metric

        while (entry := self._waiting.get()) is not None:
            batch, over = [entry], False
            while len(batch) < 100 and not over and not self._waiting.empty():
                following = self._waiting.get()
                over = following is None
                batch += [] if following is None else [following]
            metrics = [
                Metric(key, value, int(at * 1000), step)
                for step, values, at in batch
                for key, value in values.items()
            ]
            if not self._deliver(metrics) or over:
                return

    def _deliver(self, metrics: list[Any]) -> bool:
        """Keep trying while training goes on, and at its end for a minute."""
        from mlflow.exceptions import MlflowException

        while True:
            try:
                self._client.log_batch(self.run, metrics=metrics)
            except (MlflowException, OSError) as error:
                self._lost = error
                if self._deadline is not None and time.monotonic() > self._deadline:
                    return False
                time.sleep(1.0)
            else:
                self._lost = None
                return True


def track(recipe: Recipe, name: str, run: str | None) -> Tracking | None:
    """Begin the run in MLflow, or take up the one begun before. None where no MLflow is known.

    Raises:
        ServiceUnreachable, CredentialRejected: MLflow is known and can't be used.
    """
    from thinkube.services.tracking import mlflow

    try:
        library = mlflow()
    except ServiceNotFound:
        return None
    client = library.MlflowClient()
    if run is None:
        tags = {
            "mlflow.runName": name,
            "mlflow.source.type": "JOB",
            "thinkube.job": name,
            "thinkube.base": recipe.base,
        }
        experiment = _experiment(client, recipe.experiment or recipe.name)
        run = str(client.create_run(experiment, tags=tags).info.run_id)
        return Tracking(client, library.get_tracking_uri(), run, 0)
    client.update_run(run, status="RUNNING")
    sent = max((metric.step for metric in client.get_metric_history(run, "loss")), default=0)
    return Tracking(client, library.get_tracking_uri(), run, sent)


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            # Another job has just made it.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    elif found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
