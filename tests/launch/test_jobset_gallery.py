"""launch/jobset_gallery.yaml: Kubernetes' schema, the workers' command, and which failures end the set."""

import pytest

from rgcn_jax.gallery.add_command import parse
from tests.launch import jobsets


@pytest.fixture(scope="module")
def job_set():
    return jobsets.read("jobset_gallery.yaml")


@pytest.fixture(scope="module")
def job(job_set):
    return jobsets.job_of(job_set)


def test_the_job_within_is_one_of_kubernetes(job):
    jobsets.check_schema(job)


def test_every_pod_is_a_worker_of_the_same_command(job):
    assert job["completions"] == job["parallelism"] > 1
    (container,) = job["template"]["spec"]["containers"]
    (volume,) = container["volumeMounts"]
    assert container["command"] == ["python", "-m", "rgcn_jax", "gallery", "add"]
    known, overrides = parse(container["args"], "rgcn-jax gallery add")
    assert known.shared
    assert not overrides
    paths = (known.gallery, known.model, known.root, known.keypoints)
    assert all(str(path).startswith(f"{volume['mountPath']}/") for path in paths)


def test_refused_arguments_fail_the_set_and_a_pod_that_is_gone_is_replaced(job_set, job):
    refused, evicted = job["podFailurePolicy"]["rules"]
    assert (refused["action"], refused["onExitCodes"]["values"]) == ("FailJob", [2])
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert job["backoffLimit"] >= job["completions"]
    assert job_set["spec"]["failurePolicy"]["rules"] == [
        {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    ]
