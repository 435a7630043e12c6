"""MLflow tracker (extra ``mlflow``): one MLflow run per work directory, at ``MLFLOW_TRACKING_URI``."""

import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param

from rgcn_jax.config import Config
from rgcn_jax.fields import leaves


class MlflowTracker:
    """Logs the config and scalars to an MLflow run in the experiment ``MLFLOW_EXPERIMENT_NAME`` (default: rgcn_jax).

    After a resume, MLflow has two values for steps that are repeated.
    """

    name = "MLflow"

    def __init__(self, workdir: Path, config: Config, run_id: str | None):
        self._client = mlflow.MlflowClient()
        if run_id is None:
            run_id = self._client.create_run(_experiment(self._client), run_name=workdir.resolve().name).info.run_id
            parameters = [Param(name, str(value)) for name, _, value in leaves(config)]
            for i in range(0, len(parameters), 100):  # limit of one request
                self._client.log_batch(run_id, params=parameters[i : i + 100])
        self._client.update_run(run_id, status="RUNNING")
        self.run_id = run_id

    def add(self, scalars: Mapping[str, float | int], step: int) -> None:
        """Log the scalars of a step."""
        now = int(1000 * time.time())
        self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in scalars.items()])

    def close(self) -> None:
        """Mark the run as finished; a resume marks it as running again."""
        self._client.set_terminated(self.run_id)


def _experiment(client: mlflow.MlflowClient) -> str:
    """Id of the experiment, which is created if it does not exist."""
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

    name = MLFLOW_EXPERIMENT_NAME.get() or "rgcn_jax"
    found = client.get_experiment_by_name(name)
    return client.create_experiment(name) if found is None else found.experiment_id
