"""launch/jobset.yaml: the schema, the numbers that must agree, and the environment of each pod."""

import pytest

from tests.launch import jobsets


@pytest.fixture(scope="module")
def job_set():
    return jobsets.read("jobset.yaml")


@pytest.fixture(scope="module")
def job(job_set):
    return jobsets.job_of(job_set)


@pytest.fixture(scope="module")
def container(job):
    (container,) = job["template"]["spec"]["containers"]
    return container


def test_the_job_within_is_one_of_kubernetes(job):
    jobsets.check_schema(job)


def test_every_pod_is_one_process(job_set, job, container):
    environment = {entry["name"]: entry for entry in container["env"]}
    assert job["completionMode"] == "Indexed"
    assert environment["JAX_NUM_PROCESSES"]["value"] == str(job["completions"]) == str(job["parallelism"])
    annotation = environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert annotation == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    host, port = environment["JAX_COORDINATOR_ADDRESS"]["value"].split(":")
    name, replicated = job_set["metadata"]["name"], job_set["spec"]["replicatedJobs"][0]["name"]
    # <set>-<replicated job>-<job>-<pod>.<subdomain>, which is the set's name where it names none
    assert host == f"{name}-{replicated}-0-0.{name}"
    assert container["ports"] == [{"containerPort": int(port)}]
    assert container["command"] == ["python", "-m", "rgcn_jax.main"]


def test_a_refused_config_fails_the_set_and_anything_else_starts_it_again(job_set, job):
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"], rule["onExitCodes"]["operator"]) == ("FailJob", [2], "In")
    assert job["backoffLimit"] == 0
    assert job_set["spec"]["failurePolicy"]["rules"] == [
        {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    ]
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] >= 1
