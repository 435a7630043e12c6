import shutil
import subprocess
import sys

import pytest

from rgcn_jax.data.datasets import custom
from rgcn_jax.errors import InputError
from rgcn_jax.walkers import write
from rgcn_jax.walkers.__main__ import main
from tests.commands import status
from tests.frames import read_image

SMALL = ["--train-identities=3", "--test-identities=3", "--cameras=2", "--min-frames=2", "--max-frames=3", "--junk=1"]


def test_writes_a_data_set_and_says_how_many_images(tmp_path, capsys):
    out = tmp_path / "mars"
    assert status(main, [f"--out={out}", *SMALL, "--image-height=64", "--image-width=32"]) == 0
    images = list(out.glob("bbox_*/*/*.jpg"))
    assert f"wrote {len(images)} images" in capsys.readouterr().out
    assert read_image(images[0]).shape == (64, 32, 3)


def test_draws_a_contact_sheet(tmp_path):
    file = tmp_path / "sheet.png"
    assert status(main, [f"--contact-sheet={file}", *SMALL]) == 0
    assert read_image(file).shape[0] == 3 * 256 + 2 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out={}/full"], "full is not empty"),
        (["--out={}/new", "--train-identities=4"], "train_identities is 4: expected a multiple of group_size (3)"),
        (["--out={}/new", "--image-width=0"], "--image-width: expected a whole number of 1 or more, found '0'"),
        (["--contact-sheet={}/sheet.txt"], "expected a .png or .jpg file"),
        (["--contact-sheet={}/nowhere/sheet.png"], "cannot be written"),
    ],
)
def test_what_the_user_must_mend_is_one_sentence_and_status_2(arguments, message, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("keep")
    assert status(main, [*SMALL, *[a.format(tmp_path) for a in arguments]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "nothing to do"), (["--out=x", "--layout=market"], "invalid choice")]
)
def test_usage_errors_exit_with_status_2(arguments, message, capsys):
    assert status(main, arguments) == 2
    assert message in capsys.readouterr().err


def test_the_module_runs_without_tensorflow_and_jax():
    code = (
        "import sys; sys.modules['tensorflow'] = None; import rgcn_jax.walkers as w\n"
        "s = w.generate(w.WalkersSpec(train_identities=3, test_identities=3)); s.frames(s.split.query[0], 64, 32)\n"
        "sys.exit(any(name in sys.modules for name in ('jax', 'flax')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_data_set_whose_writing_was_cut_off_is_no_data_set(tmp_path, monkeypatch, capsys):
    """Half of one has all of its folders, and would be read as a whole one."""
    images = []

    def killed(path, image):
        images.append(path)
        if len(images) > 40:
            raise KeyboardInterrupt
        return write_image(path, image)

    write_image = write._write_image
    monkeypatch.setattr(write, "_write_image", killed)
    out = tmp_path / "half"
    arguments = [f"--out={out}", *SMALL, "--layout=folder", "--image-height=16", "--image-width=8"]
    assert status(main, arguments) == 130
    for subset in ("train", "query", "gallery"):
        (out / subset).mkdir(exist_ok=True)
    with pytest.raises(InputError, match="incomplete.*half"):
        custom.load(out)
    capsys.readouterr()
    assert status(main, arguments) == 2
    assert "left by a killed command: delete it" in capsys.readouterr().err
    monkeypatch.undo()
    shutil.rmtree(out)
    assert status(main, arguments) == 0
    assert custom.load(out).train
