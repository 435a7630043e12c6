"""What the user hands over is data and never code; names from it cannot steer a terminal. Read from the source."""

import ast
from pathlib import Path

import pytest

from rgcn_jax.command import run_command
from rgcn_jax.errors import InputError, printable

REPOSITORY = Path(__file__).parents[1]
FILES = sorted(
    p for folder in ("rgcn_jax", "configs", "benchmarks", "scripts") for p in (REPOSITORY / folder).rglob("*.py")
)

UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNS = {"eval", "exec", "compile", "__import__"}
UNPACKS = {"extract", "extractall", "unpack_archive"}
# Its unpickler knows the names of a table of weights and refuses all others (tests/torch_files).
ALLOWED = {("rgcn_jax/torch_files/pickles.py", "pickle")}


def dangers(source):
    """What in a source could run what a file holds, or write where an archive says: line and name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, a.name) for a in names if a.name.split(".")[0] in UNPICKLES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNPICKLES:
                found.append((node.lineno, module))
            case ast.Call(func=ast.Name(id=name)) if name in RUNS:
                found.append((node.lineno, name))
            case ast.Call(func=ast.Attribute(attr=name)) if name in UNPACKS:
                found.append((node.lineno, name))
            case ast.Call(func=ast.Attribute(attr="load", value=ast.Name(id=module)), keywords=keywords):
                given = {k.arg: k.value.value for k in keywords if isinstance(k.value, ast.Constant)}
                if module in ("np", "numpy") and given.get("allow_pickle") is not False:
                    found.append((node.lineno, "np.load without allow_pickle=False"))
                if module in ("yaml", "torch") and given.get("weights_only") is not True:
                    found.append((node.lineno, f"{module}.load"))
            case ast.Call(keywords=keywords):
                given = {k.arg: k.value.value for k in keywords if isinstance(k.value, ast.Constant)}
                if given.get("allow_pickle") or given.get("shell"):
                    found.append((node.lineno, "allow_pickle or shell"))
    return found


def unescaped(source):
    """Lines that print an error as it is: its text may hold names of files."""
    return [n for n, line in enumerate(source.splitlines(), 1) if "print(" in line and "{error}" in line]


def test_nothing_that_is_user_files_is_run():
    sources = {str(file.relative_to(REPOSITORY)): file.read_text(encoding="utf-8") for file in FILES}
    assert "rgcn_jax/torch_files/pickles.py" in sources
    found = [(n, line, what) for n, text in sources.items() for line, what in dangers(text) if (n, what) not in ALLOWED]
    assert found == []
    assert {name: lines for name, text in sources.items() if (lines := unescaped(text))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
        "yaml.load(text)",
        "torch.load(path)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_reading_of_the_source_finds_it(source):
    assert len(dangers(source)) == 1


def test_what_is_harmless_is_not_found():
    assert not dangers("np.load(path, allow_pickle=False)\ntorch.load(path, weights_only=True)\nmodel.eval()")


def test_names_cannot_steer_a_terminal(capsys):
    name = "evil\x1b]0;owned\x07\x1b[2J\u202egpj.exe\r\x9b"

    def command(arguments):
        raise InputError(f"{name}: no such file;\nthere is größe.jpg")

    with pytest.raises(SystemExit):
        run_command(command)
    reported = capsys.readouterr().err
    escaped = r"evil\x1b]0;owned\x07\x1b[2J\u202egpj.exe\r\x9b"
    assert reported == f"error: {escaped}: no such file;\\nthere is größe.jpg\n"  # one line
    assert printable("\udce9.jpg") == r"\udce9.jpg"  # a name that is no UTF-8
    assert printable("Zoë 李\n") == "Zoë 李\n"
