"""Resuming on another number of devices: refused where it would train something else."""

import json
import shutil

import pytest

from rgcn_jax import main
from rgcn_jax.errors import InputError
from tests import mars_folder

SPEC = {"train_identities": 4, "test_identities": 4, "group_size": 2, "cameras": 2, "min_frames": 3, "max_frames": 3}


def train(workdir, steps, devices, *arguments):
    main.main(
        [
            "--config=configs/walkers.py",
            *(f"--config.data.walkers.{name}={value}" for name, value in SPEC.items()),
            *mars_folder.TINY,
            f"--workdir={workdir}",
            f"--config.num_steps={steps}",
            f"--config.parallel.num_devices={devices}",
            *arguments,
        ]
    )


@pytest.mark.slow
@pytest.mark.jit
def test_statistics_per_device_are_bound_to_the_number_of_devices(tmp_path, capsys):
    own = "--config.parallel.batch_norm=device"
    train(tmp_path, 1, 1, own)
    with pytest.raises(InputError, match=r"1 device\(s\).* 2.*batch_norm=device"):
        train(tmp_path, 2, 2, own)
    train(tmp_path, 2, 2, own, "--config.allow_config_change")
    assert "devices was 1 and is 2" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["config_changes"] == [{"after_step": 1, "changes": {"devices": [1, 2]}}]
    train(tmp_path, 3, 2, own)  # from now on that is the run's


@pytest.mark.slow
@pytest.mark.jit
def test_the_best_of_later_steps_on_other_devices_is_quarantined(tmp_path, capsys):
    own = "--config.parallel.batch_norm=device"
    train(tmp_path, 1, 1, own)
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(checkpoints / "latest", tmp_path / "kept")
    shutil.rmtree(checkpoints / "best")  # so that the later one is the best
    train(tmp_path, 2, 1, own)
    assert [path.name for path in (checkpoints / "best").iterdir()] == ["2"]
    shutil.rmtree(checkpoints / "latest")
    shutil.copytree(tmp_path / "kept", checkpoints / "latest")
    train(tmp_path, 2, 2, own, "--config.allow_config_change")
    assert "the best checkpoint, of step 2, is of the previous config" in capsys.readouterr().out
    assert (checkpoints / "quarantine" / "best-2-1").is_dir()
