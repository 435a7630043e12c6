"""The program on the data sets besides MARS: it trains on their layouts, and names the split of the people it used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rgcn_jax import main
from rgcn_jax.config import DataConfig
from rgcn_jax.data.datasets import ilids_vid
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import __main__
from rgcn_jax.data.load import open_data
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.protocol import scorable_protocols
from rgcn_jax.evaluation.protocol import test_tracklets as distinct_test_tracklets
from tests import mars_folder
from tests.commands import status
from tests.data.datasets import layouts

REPOSITORY = Path(__file__).parents[3]
SIZE_AND_POSE = (16, 8), True


@pytest.fixture(scope="module")
def ilids(tmp_path_factory):
    return layouts.make(tmp_path_factory.mktemp("data") / "iLIDS-VID", "ilids_vid")


def arguments(config, root, *others):
    data = (f"--config.data.root={root}", f"--config.data.keypoints={root}/openpose")
    return [f"--config=configs/{config}.py", *data, *mars_folder.TINY, "--config.num_steps=2", *others]


@pytest.mark.slow
def test_ilids_vid_trains_from_a_shell_and_the_results_name_its_split(ilids, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "rgcn_jax.main", *arguments("ilids_vid", ilids, f"--workdir={tmp_path / 'run'}")]
    process = subprocess.run(
        [*command, "--config.data.split=4"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    partition = ilids_vid.load(ilids, 4).split_description
    assert partition.startswith("split 4 of 10 (")
    assert f"ilids_vid: {partition}\n" in process.stdout
    assert "8 training tracklets of 4 identities; 4 queries, 4 gallery tracklets" in process.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["data_set"] == f"ilids_vid {partition}"
    assert set(results["protocols"]) == {"official", "official_matlab"}
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(InputError, match="holds a run with data.split 4, not 5"):
        main.main([*command[3:], "--config.data.split=5"])


PROTOCOLS = {
    "mars": {"official", "official_matlab", "query_excluded", "junk_kept"},
    "dukemtmc_vidreid": {"official", "official_matlab", "query_excluded"},
    "ilids_vid": {"official", "official_matlab"},
    "prid2011": {"official", "official_matlab"},
    "ls_vid": {"official", "official_matlab"},
    "ccvid": {"official", "official_matlab"},
    "mevid": {"official", "official_matlab"},
    "folder": {"official", "official_matlab", "junk_kept"},
}


@pytest.mark.parametrize("layout", layouts.NAMES)
def test_the_official_protocol_is_for_every_data_set_and_others_where_they_say_something(layout, tmp_path):
    root = layouts.make(tmp_path / layout, layout)
    tracklets, roles = distinct_test_tracklets(DATA_SETS[layout].load(root))
    protocols, chance = scorable_protocols(tracklets, roles)
    assert set(protocols) == PROTOCOLS[layout]
    assert 0 < chance < 1


@pytest.mark.parametrize("name", ["walkers", *(name for name in DATA_SETS if name not in SEVERAL_SPLITS)])
def test_a_data_set_of_one_split_has_no_other(name):
    with pytest.raises(InputError, match="data.split is 2, .*ilids_vid and prid2011"):
        open_data(DataConfig(name, split=2), *SIZE_AND_POSE)


def test_a_split_that_is_opened_is_printed(ilids, capsys):
    for number in (1, 10):
        data = open_data(DataConfig("ilids_vid", str(ilids), number, f"{ilids}/openpose"), *SIZE_AND_POSE)
        assert capsys.readouterr().out == f"ilids_vid: {data.split.split_description}\n"
        assert data.split.split_description.startswith(f"split {number} of 10 (")


@pytest.mark.parametrize("layout", ["dukemtmc_vidreid", "prid2011", "ls_vid", "ccvid", "mevid", "folder"])
def test_a_keypoint_store_is_made_of_any_layout(layout, tmp_path, capsys):
    root = layouts.make(tmp_path / layout, layout)
    options = [f"--root={root}", f"--keypoints={root}/openpose", f"--out={tmp_path}/store.npz"]
    assert status(__main__.main, [f"--dataset={layout}", *options]) == 0, capsys.readouterr().err
    data = open_data(DataConfig(layout, str(root), keypoints=f"{tmp_path}/store.npz"), *SIZE_AND_POSE)
    assert data.split.train


@pytest.mark.jit
def test_weights_of_market_1501_on_mars_are_warned_of_before_they_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    root = mars_folder.write(tmp_path / "MARS")
    with pytest.raises(InputError, match="weights .*osnet_Market.pth"):
        main.main(mars_folder.arguments(root, f"--workdir={tmp_path}", "--config.model.pretrained=osnet_Market.pth"))
    assert "warning: by their name, osnet_Market.pth are weights trained on Market-1501" in capsys.readouterr().out
