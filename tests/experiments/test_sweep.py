"""Sweeps: what is run, resumed and printed, from the command line on tiny data; the packaged tables."""

import csv
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

import pytest

from rgcn_jax import evaluate
from rgcn_jax import sweep as command
from rgcn_jax.config_io import configs_folder
from rgcn_jax.experiments.cells import cells, number_list
from rgcn_jax.experiments.results_table import fill
from rgcn_jax.experiments.sweep import Sweep, record
from rgcn_jax.experiments.table import load_table
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.workdir import WorkDir
from tests.commands import REPOSITORY, fails, status

pytestmark = pytest.mark.slow

TABLE = """
from rgcn_jax.experiments.table import Column, Row, Table

BASE = {
    "data.walkers.train_identities": 4,
    "data.walkers.test_identities": 4,
    "data.walkers.group_size": 2,
    "data.walkers.cameras": 2,
    "data.walkers.max_frames": 5,
    "data.walkers.min_frames": 3,
    "num_steps": STEPS,
    "image_height": 32,
    "image_width": 16,
    "frames_per_clip": 3,
    "batch.identities": 2,
    "batch.clips_per_identity": 2,
    "model.stage_sizes": (1,),
    "model.width": 4,
    "model.pose_features": 16,
    "evaluation.clips_per_batch": 8,
    "parallel.num_devices": 1,
    "checkpoint_every_steps": 1,
}


def get_table():
    columns = (Column("walkers", "mAP"), Column("walkers", "rank1", "pose"), Column("walkers", "minutes"))
    rows = (
        Row("AP | a", {"model.pose": "none"}, {("walkers", "mAP"): 12.5}),
        Row("AP+RGCN_x", {"model.pose": "RGCN"}),
        Row("quoted", None, {("mars", "mAP"): 80.0}, "A & B"),
    )
    return Table("Tiny", (*columns, Column("mars", "mAP")), rows, {"walkers": BASE}, {"walkers": "AP | a"})
"""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(TABLE.replace("STEPS", "2"))
    return file


def results(out):
    return sorted(out.glob("walkers/*/*/results.json"))


@pytest.mark.jit
def test_a_sweep_trains_each_run_once_and_prints_the_table(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert status(command.main, [table, "--seeds=0", f"--out={out}", "--only=0/2"]) == 0
    assert len(results(out)) == 1
    assert "missing" in capsys.readouterr().out.lower()
    assert status(command.main, [table, "--seeds=0:1", f"--out={out}", "--format=csv"]) == 0
    printed = capsys.readouterr().out
    assert len(results(out)) == 4
    times = [file.stat().st_mtime_ns for file in results(out)]
    assert status(command.main, [table, "--seeds=0:1", f"--out={out}"]) == 0
    assert [file.stat().st_mtime_ns for file in results(out)] == times
    assert "4 runs, 4 of them finished" in capsys.readouterr().out

    lines = list(csv.DictReader(io.StringIO(printed[printed.index("row,data_set") :])))
    (line,) = (r for r in lines if (r["row"], r["metric"]) == ("AP+RGCN_x", "mAP") and r["data_set"] == "walkers")
    values = [json.loads(f.read_text())["fused"]["mAP"] for f in out.glob("walkers/AP+RGCN-*/*/results.json")]
    assert float(line["mean"]) == pytest.approx(statistics.mean(values), abs=1e-3)
    assert float(line["deviation"]) == pytest.approx(statistics.stdev(values), abs=1e-3)
    assert (line["runs"], line["wanted"]) == ("2", "2")
    (pose,) = out.glob("walkers/AP+RGCN-*/seed1-*/config.json")
    assert json.loads(pose.read_text())["model"]["appearance"] == "precomputed"

    assert r"AP+RGCN\_x" in (out / "tiny.tex").read_text()
    assert r"A \& B" in (out / "tiny.tex").read_text()
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in (out / "tiny.md").read_text().splitlines() if "|" in line}
    assert len(widths) == 1

    results(out)[0].write_text("{")  # is run again: it resumes after its last step
    assert "(begun)" in "".join(fill(load_table(str(table)), out).missing)
    assert status(command.main, [table, "--seeds=0:1", f"--out={out}"]) == 0
    assert not fill(load_table(str(table)), out).missing
    assert status(command.main, [table, f"--out={out}", "--print"]) == 0
    assert "2 of 2" in capsys.readouterr().out


@pytest.mark.jit
def test_a_column_with_other_clips_is_another_evaluation_of_the_same_run(table, tmp_path, capsys):
    alone = TABLE.replace("STEPS", "2").replace('"AP | a", {"model.pose": "none"}', '"none", None')
    alone = alone.replace("BASE = {", 'BASE = {\n    "model.appearance": "none",\n    "evaluation.clips": "full",')
    alone = alone.replace('{"walkers": "AP | a"}', "{}")
    table.write_text(alone)
    out = tmp_path / "out"
    assert status(command.main, [table, f"--out={out}"]) == 0  # trained without the other evaluation
    table.write_text(alone.replace('"minutes")', '"minutes"), Column("walkers", "mAP", "pose", "even")'))
    assert "1 runs" in "".join(fill(load_table(str(table)), out).write("markdown").splitlines()[-1:])
    (trained,) = results(out)
    before = trained.stat().st_mtime_ns
    assert status(command.main, [table, f"--out={out}", "--format=csv"]) == 0
    printed = capsys.readouterr().out
    assert trained.stat().st_mtime_ns == before
    assert "1 run, 0 of them finished" in printed
    lines = list(csv.DictReader(io.StringIO(printed[printed.rindex("row,data_set") :])))
    found = {line["clips"]: float(line["mean"]) for line in lines if (line["row"], line["of"]) == ("AP+RGCN_x", "pose")}
    folder = trained.parent
    line = [f"--model={folder}", "--config.evaluation.clips=even", f"--out={tmp_path / 'even.json'}"]
    assert status(evaluate.main, line) == 0
    even = json.loads((tmp_path / "even.json").read_text())
    assert even["clips"] == "even"
    assert found["even"] == pytest.approx(even["pose"]["mAP"], abs=1e-3)
    assert not fill(load_table(str(table)), out).missing


def test_a_failed_run_is_reported_and_the_others_are_run(table, tmp_path, monkeypatch):
    trained = []

    def attempt(cell, _):
        trained.append(cell.name)
        if "seed 0" in cell.name:
            raise RuntimeError("out of memory")
        return "mAP 1.0"

    monkeypatch.setattr("rgcn_jax.experiments.sweep._train", attempt)
    monkeypatch.setattr("rgcn_jax.experiments.sweep._write_features", lambda *_: "features")
    said = []
    wanted = cells(load_table(str(table)), "walkers", [0, 1], [1], [], tmp_path)
    sweep = Sweep(Stopping(), said.append)
    sweep.run(wanted)
    assert len(sweep.failed) == 2
    assert trained.count("walkers, AP | a, seed 0") == 1
    assert "walkers, AP | a, seed 1" in trained
    assert any("out of memory" in text for text in said)
    assert "Traceback" in (wanted[0].folder / "log.txt").read_text()


@pytest.mark.jit
def test_a_run_of_another_process_is_left_to_it(table, tmp_path):
    (cell,) = cells(load_table(str(table)), "walkers", [0], [1], [], tmp_path)[:1]
    cell.folder.mkdir(parents=True)
    with WorkDir(cell.folder):
        sweep = Sweep(Stopping(), print)
        sweep.run([cell])
    assert (sweep.failed, sweep.elsewhere) == ([], [cell.name])
    assert cell.state() == "not begun"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes side by side need two cores")
def test_a_signal_saves_the_run_of_each_process_side_by_side(table, tmp_path):
    table.write_text(TABLE.replace("STEPS", "100000"))
    out = tmp_path / "out"
    line = [sys.executable, "-m", "rgcn_jax", "sweep", str(table), f"--out={out}", "--jobs=2"]
    cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        line, cwd=REPOSITORY, env=cpu, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 200
    while not list(out.glob("walkers/*/*/checkpoints/latest/[0-9]*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 75, printed
    assert "rerun the same command" in printed
    assert results(out) == []
    assert list(out.glob("walkers/*/*/seconds.jsonl"))


def test_the_packaged_tables_have_valid_configs_and_the_papers_numbers(tmp_path):
    for file in sorted((configs_folder() / "tables").glob("*.py")):
        table = load_table(file.stem)
        for name in table.data_sets:
            found = cells(table, name, [0], [1], [], tmp_path)
            assert len({cell.folder for cell in found}) == len(found), file
    filled = fill(load_table("table3"), tmp_path)
    published = {(e.row.name, e.column.title): e.published for line in filled.entries for e in line}
    assert published["AP+LGCN", "ilids_vid mAP"] == 90.4
    assert published["BiC+LGCN", "mars Rank-1"] == 91.1
    assert "86.5" in fill(load_table("table8"), tmp_path).write("markdown")


def test_pose_rows_of_table3_are_trained_beside_their_own_appearance_model_on_walkers(tmp_path):
    found = cells(load_table("table3"), "walkers", [0, 1], [1], [], tmp_path)
    assert len({cell.folder for cell in found}) == 24
    for number, cell in enumerate(found):
        appearance, _, pose = cell.row.partition("+")
        assert (cell.features_run is None) == (not pose)
        if cell.features_run:
            assert (cell.features_run.row, cell.features_run.config.seed) == (appearance, cell.config.seed)
            assert cell.features_run in found[:number]
            assert cell.config.data.features == str(cell.features_run.features)
    root = ["--config.data.root=/data/MARS"]
    assert all(cell.features_run is None for cell in cells(load_table("table3"), "mars", [0], [1], root, tmp_path))


def test_tables_share_runs_and_a_changed_field_is_another_one(tmp_path):
    def folders(name, *overrides):
        return {c.folder for c in cells(load_table(name), "walkers", [0, 1], [1], overrides, tmp_path)}

    assert len(folders("table7") & folders("table6")) == 6  # AP and the two defaults, two seeds each
    assert not folders("table6") & folders("table6", "--config.num_epochs=7")
    assert folders("table6") == folders("table6", "--config.data.root=/elsewhere")


def test_what_is_wrong_is_one_sentence(table, tmp_path, capsys):
    out = f"--out={tmp_path / 'out'}"
    assert "packaged tables" in fails(command.main, ["table99", out], capsys)
    assert "--seeds" in fails(command.main, ["table3", out, "--seeds=1:"], capsys)
    assert "--seeds" in fails(command.main, ["table3", out, "--seeds=1,1"], capsys)
    assert "data.root" in fails(command.main, ["table3", out, "--dataset=mars"], capsys)
    assert "expected one of" in fails(command.main, ["table3", out, "--dataset=ducks"], capsys)
    assert "expected I/N" in fails(command.main, ["table3", out, "--only=2/2"], capsys)
    assert "unknown config field" in fails(command.main, ["table3", out, "--config.nothing=1"], capsys)
    assert "omit --print" in fails(command.main, ["table3", out, "--print"], capsys)
    table.write_text("def get_table():\n    return 3\n")
    assert "must return a Table" in fails(command.main, [table, out], capsys)
    table.write_text(TABLE.replace("STEPS", "2").replace('"rank1", "pose")', '"rank1", "pose", "odd")'))
    assert "a column's clips are 'odd'" in fails(command.main, [table, out], capsys)
    table.write_text(TABLE.replace("STEPS", "2").replace('"AP | a"})', '"nobody"})'))
    assert "features_from names the row" in fails(command.main, [table, out], capsys)
    record(tmp_path / "out", "walkers", [], [(0, 1)])
    (tmp_path / "out" / "sweep.json").write_text("[]")
    assert "sweep.json cannot be read" in fails(command.main, ["table3", out, "--print"], capsys)


def test_numbers_of_a_range_include_both_ends():
    assert number_list("0:2", "--seeds", 0) == [0, 1, 2]
    assert number_list("3,5:6", "--seeds", 0) == [3, 5, 6]
