"""TensorBoard, Weights & Biases and MLflow get the numbers of metrics.jsonl; read by their own programs, offline."""

import json
import struct

import pytest

from rgcn_jax.config import Config
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.workdir import WorkDir
from rgcn_jax.training.tensorboard import Board
from rgcn_jax.training.tracker import RUN_FILE, open_trackers
from rgcn_jax.training.writer import METRICS_FILE, Writer

pytestmark = pytest.mark.filterwarnings("ignore")  # of other people's programs

METRICS = {"loss": 1.5, "lambda": 0.25, "frames_per_second": 321.4, "seconds_left": 90.0}
ROWS = {"appearance": {"mAP": 10.0}, "fused": {"mAP": 30.0, "rank1": 40.0}}
EXPECTED = {("train/loss", 1): 1.5, ("train/loss", 2): 2.5, ("appearance/mAP", 2): 10.0, ("fused/rank1", 2): 40.0}


def log(workdir, trackers, first_step=0):
    """Two steps and an evaluation from ``first_step`` on."""
    with Writer(workdir, 4, first_step, trackers) as writer:
        writer.train(first_step + 1, METRICS)
        writer.train(first_step + 2, METRICS | {"loss": 2.5})
        writer.evaluation(first_step + 2, ROWS, {"protocol": "official"})


def board_values(workdir):
    """(name, step) -> values, as TensorBoard reads its files."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(
        str(workdir / "tensorboard")
    )
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["scalars"]:
        for event in accumulator.Scalars(tag):
            found.setdefault((tag, event.step), []).append(event.value)
    return found


def test_tensorboard_shows_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    log(tmp_path, [Board(tmp_path, 0)])
    found = board_values(tmp_path)
    assert {key: found[key] for key in EXPECTED} == {key: [value] for key, value in EXPECTED.items()}


def test_tensorboard_forgets_the_steps_that_a_resumed_run_takes_again(tmp_path):
    pytest.importorskip("tensorboardX")
    log(tmp_path, [Board(tmp_path, 0)])
    log(tmp_path, [Board(tmp_path, 2)], 2)
    log(tmp_path, [Board(tmp_path, 1)], 1)  # killed at step 4; its last checkpoint is of step 1
    found = board_values(tmp_path)
    assert {step: values for (tag, step), values in found.items() if tag == "train/loss"} == {
        1: [1.5],
        2: [1.5],
        3: [2.5],
    }


def wandb_records(file):
    """The records of W&B's file in LevelDB's log format: blocks of 32 KiB; checksum, length, kind before a piece."""
    data, at, record = file.read_bytes(), 7, b""
    while at < len(data):
        if 2**15 - at % 2**15 < 7:  # no room for a head: the rest of the block is empty
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


@pytest.mark.slow
def test_wandb_offline_holds_the_numbers_and_a_resumed_run_keeps_its_id(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    monkeypatch.setenv("WANDB_MODE", "offline")
    for first_step in (0, 2):
        log(tmp_path, open_trackers(Config(tracker="wandb"), tmp_path, first_step)[-1:], first_step)
    wandb.teardown()  # the process that writes its files
    with WorkDir(tmp_path):  # the links that W&B makes refuse no resume
        pass
    run_id = json.loads((tmp_path / RUN_FILE).read_text())["wandb"]
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
    records = [Record.FromString(data) for file in files for data in wandb_records(file)]
    assert {record.run.run_id for record in records} - {""} == {run_id}
    settings = {item.key: json.loads(item.value_json) for record in records for item in record.run.config.update}
    assert settings["optimizer"]["learning_rate"] == 3e-4
    found = {}
    for record in records:
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        found |= {(name, record.history.step.num): value for name, value in row.items()}
    assert {key: found[key] for key in EXPECTED} == EXPECTED
    assert found["train/loss", 4] == 2.5


@pytest.mark.slow
def test_mlflow_holds_the_numbers_and_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    workdir = tmp_path / "run"
    workdir.mkdir()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    for first_step in (0, 2):
        log(workdir, open_trackers(Config(tracker="mlflow"), workdir, first_step)[-1:], first_step)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("rgcn_jax")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((workdir / RUN_FILE).read_text())["mlflow"]
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optimizer.learning_rate"] == "0.0003"
    for (name, step), value in EXPECTED.items():
        assert [m.value for m in client.get_metric_history(run.info.run_id, name) if m.step == step] == [value]


class Broken:
    name = "Broken"

    def __init__(self):
        self.calls = 0

    def add(self, scalars, step):
        self.calls += 1
        raise ConnectionError("no route")

    def close(self):
        raise AssertionError("a tracker that failed is left alone")


def test_a_tracker_that_fails_is_reported_once_and_ends_nothing(tmp_path, capsys):
    broken = Broken()
    log(tmp_path, [broken])
    assert broken.calls == 1
    assert capsys.readouterr().err.count("Broken is disabled after an error (ConnectionError: no route)") == 1
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_an_error_with_the_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    monkeypatch.delitem(__import__("sys").modules, f"rgcn_jax.training.{name}_tracker", raising=False)
    with pytest.raises(InputError, match=rf"pip install 'rgcn_jax\[{name}\]'"):
        open_trackers(Config(tracker=name), tmp_path, 0)
