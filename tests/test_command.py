"""The command line: ``rgcn-jax``, every module path, flags and their old spellings, exit statuses."""

import argparse
import re
import subprocess
import sys

import pytest

import rgcn_jax
from rgcn_jax.__main__ import COMMANDS, dispatch
from rgcn_jax.command import Parser, on_interrupt, path_argument, run_command, whole_number
from rgcn_jax.config_io import configs_folder, load_config_file
from rgcn_jax.data import prepare
from rgcn_jax.errors import InputError
from rgcn_jax.main import main as train
from rgcn_jax.runtime.preemption import Stopped
from tests.commands import REPOSITORY, fails, module, status

# The module paths of the commands, as they are typed after python -m.
PATHS = {
    "train": "rgcn_jax.main",
    "evaluate": "rgcn_jax.evaluate",
    "export": "rgcn_jax.export",
    "walkers": "rgcn_jax.walkers",
    "prepare": "rgcn_jax.data.prepare",
    "keypoints": "rgcn_jax.data.keypoints",
    "features": "rgcn_jax.data.features",
    "tracks": "rgcn_jax.data.mot",
    "detect": "rgcn_jax.pose_detection",
    "embed": "rgcn_jax.embed",
    "calibrate": "rgcn_jax.calibrate",
    "compare": "rgcn_jax.compare",
    "gallery": "rgcn_jax.gallery",
    "sweep": "rgcn_jax.sweep",
    "report": "rgcn_jax.report",
    "robustness": "rgcn_jax.robustness",
}


def parser(**options):
    p = Parser("rgcn-jax test", "For a test.", **options)
    p.add_argument("--work-dir", type=path_argument)
    p.add_argument("--least-share", type=float, default=0.5, metavar="X", help="how much")
    p.add_argument("--check", action="store_true", help="only look")
    p.add_argument("--count", type=whole_number(1, 9), metavar="N", help="how many (default: all)")
    return p


def test_help_lists_the_commands_in_the_order_of_use(capsys):
    assert status(dispatch, ["--help"], "rgcn-jax") == 0
    page = capsys.readouterr().out
    listed = re.findall(r"^  (\w+) {2,}\S", page, re.MULTILINE)
    assert listed == [command.name for command in COMMANDS]
    assert set(listed) == set(PATHS)
    assert listed.index("walkers") < listed.index("prepare") < listed.index("train") < listed.index("evaluate")
    assert page.startswith("usage: rgcn-jax COMMAND")


def test_without_a_command_the_help_page_and_status_2(capsys):
    assert status(dispatch, []) == 2
    assert "commands" in capsys.readouterr().out


def test_version(capsys):
    assert status(dispatch, ["--version"]) == 0
    assert capsys.readouterr().out.split() == ["rgcn_jax", rgcn_jax.__version__]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["gallery", "--help"]], ids=" ".join
)
def test_help_imports_neither_jax_nor_tensorflow(arguments):
    code = (
        "import sys; from rgcn_jax.__main__ import dispatch\n"
        "try: dispatch(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(sorted({'jax', 'flax', 'tensorflow', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", PATHS)
def test_a_module_path_is_the_same_command(name):
    """Its help and its errors are those of the command, but for the way it was called."""
    by_path, by_command = module(PATHS[name], "--help"), module("rgcn_jax", name, "--help")
    assert by_path.returncode == by_command.returncode == 0
    assert by_path.stdout.startswith(f"usage: python -m {PATHS[name]} [-h]")
    assert by_command.stdout.startswith(f"usage: python -m rgcn_jax {name} [-h]")
    text = [re.sub(r"^usage:.*?\n\n", "", page.stdout, flags=re.DOTALL) for page in (by_path, by_command)]
    assert text[0] == text[1]
    flags = re.findall(r"^  (--(?!config\.)\S+)", text[0], re.MULTILINE)
    assert flags or name == "gallery"  # which has commands of its own
    assert not any("_" in flag for flag in flags)
    done = module(PATHS[name], "--nothing-like-it")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: unknown flag --nothing-like-it: .*\n", done.stderr)


@pytest.mark.parametrize("name", PATHS)
def test_the_usage_line_names_the_program_that_was_called(name, capsys):
    assert status(dispatch, [name, "--help"], "rgcn-jax") == 0
    assert capsys.readouterr().out.startswith(f"usage: rgcn-jax {name} ")


@pytest.mark.parametrize(("wrong", "near"), [("trian", "train"), ("eval", "evaluate"), ("Prepare", "prepare")])
def test_an_unknown_command_is_told_with_near_ones(wrong, near, capsys):
    assert f"unknown command {wrong}: did you mean {near}" in fails(dispatch, [wrong], capsys)


def test_an_unknown_command_like_none_is_told_with_all(capsys):
    error = fails(dispatch, ["xyzzy"], capsys)
    assert all(command.name in error for command in COMMANDS)


@pytest.mark.parametrize(
    ("main", "arguments", "near"),
    [
        (train, ["--wrokdir=x"], "--workdir"),
        (train, ["--confg=mars"], "--config"),
        (train, ["--config=mars", "--Workdir", "x"], "--workdir"),
        (train, ["--config=mars", "-workdir=x"], "--workdir"),
        (prepare.main, ["--frame_per_clip=3"], "--frames-per-clip"),
        (prepare.main, ["--data-set=mars"], "--dataset"),
    ],
)
def test_a_typo_of_a_flag_is_told_with_near_ones(main, arguments, near, capsys):
    error = fails(main, arguments, capsys)
    assert "unknown flag" in error
    assert near in error.partition("did you mean")[2]


def test_a_field_without_its_prefix_is_told_how_fields_are_set(capsys):
    assert "--config.field=value" in fails(train, ["--config=mars", "--model.pose=LGCN"], capsys)


def test_flags_are_read_in_both_spellings_and_values_as_they_are():
    for spelling in ("--work-dir=a_b/--c_d", "--work_dir=a_b/--c_d"):
        assert str(parser().parse_args([spelling]).work_dir) == "a_b/--c_d"
    assert parser().parse_args(["--least_share", "0.25"]).least_share == 0.25


def test_fields_of_the_config_keep_their_underscores():
    fields = [
        "--config.image_height=32",
        "--config.loss.margin",
        "-inf",
        "--noconfig.allow_config_change",
        "--config.a_b",
    ]
    known, rest = parser(config_fields=True).parse_known_args(["--work_dir=x", *fields, "seed_x=1"])
    assert str(known.work_dir) == "x"
    assert rest == [*fields, "seed_x=1"]
    with pytest.raises(InputError, match="unknown flag --config.image_height"):
        parser().parse_known_args(fields)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--work=x", "unknown flag --work: did you mean --work-dir"),  # nothing is abbreviated
        ("--work-dir=", "--work-dir: expected a path"),
        (f"--work-dir={'x' * 300}", "--work-dir: xxx.* is too long for a path"),
        ("--work-dir", "--work-dir: expected one argument"),
        ("--count=0", "--count: expected a whole number from 1 to 9, found '0'"),
        ("--count=ten", "--count: expected a whole number from 1 to 9, found 'ten'"),
        ("--least-share=much", "--least-share: invalid float value: 'much'"),
        ("more", "unrecognized arguments: more"),
    ],
)
def test_a_wrong_flag_is_an_input_error(argument, message, capsys):
    with pytest.raises(InputError, match=message):
        parser().parse_args([argument])
    assert capsys.readouterr() == ("", "")


def test_help_shows_defaults_once():
    page = parser().format_help()
    assert re.search(r"--least-share X\s+how much \(default: 0.5\)", page)
    assert re.search(r"--count N\s+how many \(default: all\)\n", page)
    assert re.search(r"--check\s+only look\n", page)


@pytest.mark.parametrize(
    ("outcome", "expected", "printed"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (InputError("no such file"), 2, "error: no such file\n"),
        (InputError("a\nerror: b is missing"), 2, "error: a\\nerror: b is missing\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing is written.\n"),
        (Stopped("saved"), 75, "saved\n"),
        (SystemExit(3), 3, ""),
        (argparse.ArgumentTypeError("a bug"), argparse.ArgumentTypeError, ""),
    ],
)
def test_statuses(outcome, expected, printed, capsys):
    @on_interrupt("nothing is written.")
    def command(arguments):
        assert arguments == ["a", "b"]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    if isinstance(expected, int):
        assert status(command, ["a", "b"]) == expected
    else:
        with pytest.raises(expected):
            run_command(command, ["a", "b"])
    assert capsys.readouterr().err == printed


def test_an_interrupt_outside_of_any_work_is_told_as_such(capsys):
    def command(arguments):
        raise KeyboardInterrupt

    assert status(command, []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_command_that_a_program_calls_raises(capsys):
    for main, arguments in ((train, ["--config=mars", "--wrokdir=x"]), (prepare.main, ["--root=x"])):
        with pytest.raises(InputError):
            main(arguments)
    assert capsys.readouterr() == ("", "")


def test_a_packaged_config_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_config_file("mars")
    assert by_name == load_config_file(str(configs_folder() / "mars.py"))
    (tmp_path / "mars.py").write_text((configs_folder() / "walkers.py").read_text())
    assert load_config_file("mars") == by_name
    assert load_config_file("mars.py").to_dict()["data"]["name"] == "walkers"
    (tmp_path / "mine").write_text((configs_folder() / "walkers.py").read_text())
    assert load_config_file("mine").to_dict()["data"]["name"] == "walkers"
