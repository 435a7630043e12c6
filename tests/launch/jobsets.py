"""The JobSets of launch/, and the one job within each beside Kubernetes' schema."""

import pytest

from tests.launch.programs import LAUNCH

yaml = pytest.importorskip("yaml", reason="the extra dev has the linters")
validate = pytest.importorskip("kubernetes_validate", reason="the extra dev has the linters")


def read(name):
    """The set of a file of launch/."""
    return yaml.safe_load((LAUNCH / name).read_text(encoding="utf-8"))


def job_of(job_set):
    """What the one replicated job of a set is; one replica, so that addresses and indices are those of job 0."""
    (replicated,) = job_set["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    return replicated["template"]["spec"]


def check_schema(job):
    """Fails unless Kubernetes knows every field of the job, and refuses one that it does not."""
    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job}
    validate.validate(whole, "1.31", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate(whole | {"spec": job | {"paralelism": 2}}, "1.31", strict=True)
