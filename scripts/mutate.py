r"""Mutation testing: change one operator or constant of a module at a time and run the tests that should detect it.

    python scripts/mutate.py rgcn_jax/losses.py tests/test_losses.py tests/training/test_step.py
    python scripts/mutate.py --sample=40 --seed=0 rgcn_jax/evaluation/ranking.py tests/evaluation/test_ranking.py
    python scripts/mutate.py rgcn_jax/losses.py tests/test_losses.py --lines 31 60

Each mutant runs in a fork of this process, which has imported the libraries but neither the package nor the tests, so
a mutant takes seconds. Source files are not changed: the fork's importer returns the changed text. A mutant is killed
if a test fails, or takes ten times as long as without the change. Surviving mutants are listed with their line.
"""

import argparse
import ast
import copy
import importlib
import importlib.machinery
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

PRELOADED = (
    *("jax", "jax.numpy", "flax.linen", "optax", "numpy", "scipy.sparse", "cv2", "tqdm"),
    *("beartype", "jaxtyping", "hypothesis", "xdist.plugin"),
)

QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # for plug-ins that were already imported

SWAPS: dict[type, type] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Add, ast.Pow: ast.Mult, ast.MatMult: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
}


def changes(node: ast.AST) -> Iterator[Callable[[ast.AST], None]]:
    """Yield functions that mutate a copy of this node."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield lambda n: setattr(n, "op", SWAPS[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield lambda n: n.ops.__setitem__(0, SWAPS[type(node.ops[0])]())  # pyright: ignore
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield lambda n: setattr(n, "operand", ast.UnaryOp(copy.copy(node.op), node.operand))  # removes the operator
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield lambda n: setattr(n, "value", not node.value)
        elif isinstance(node.value, int | float):
            yield lambda n: setattr(n, "value", node.value + 1)  # pyright: ignore
    if isinstance(node, ast.IfExp):
        yield lambda n: setattr(n, "test", ast.Constant(value=True))
        yield lambda n: setattr(n, "test", ast.Constant(value=False))


def spots(tree: ast.Module) -> list[tuple[int, int]]:
    """Return (index of the node in ``ast.walk``, index of its change) of each possible mutation.

    Annotations, docstrings, error messages, and ``strict`` of ``zip``, which only asserts, are excluded.
    """
    left_out: set[int] = set()
    for node in ast.walk(tree):
        skipped = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        skipped += [node] if isinstance(node, ast.Raise | ast.JoinedStr) else []
        skipped += [node] if isinstance(node, ast.keyword) and node.arg == "strict" else []
        left_out |= {id(inner) for part in skipped if part is not None for inner in ast.walk(part)}
    nodes = enumerate(ast.walk(tree))
    return [(i, j) for i, node in nodes if id(node) not in left_out for j, _ in enumerate(changes(node))]


def mutant(tree: ast.Module, spot: tuple[int, int]) -> tuple[str, int, str, str]:
    """Return (source, line, original expression or statement, mutated one)."""
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[spot[0]]
    before = ast.unparse(node)
    list(changes(list(ast.walk(tree))[spot[0]]))[spot[1]](node)
    return ast.unparse(changed), getattr(node, "lineno", 0), before, ast.unparse(node)


def run_tests(path: Path, source: str | None, tests: list[str], limit: float) -> bool:
    """Whether the tests pass in a fork where ``path`` has the text ``source``."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if source is not None:  # suppress the output of tests of mutants
            pretend(path, source)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        status = 1
        try:
            status = int(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", *QUIET, *tests]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    end = time.monotonic() + limit
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(found[1]) == 0


def pretend(path: Path, source: str) -> None:
    """Make imports in this process read ``source`` instead of the file, without cached bytecode."""
    loader = importlib.machinery.SourceFileLoader
    get_data, path_stats = loader.get_data, loader.path_stats

    def stats(self: importlib.machinery.SourceFileLoader, name: str):  # without a time stamp, bytecode is not looked up
        if Path(name) == path:
            raise OSError(name)
        return path_stats(self, name)

    loader.path_stats = stats  # pyright: ignore
    loader.get_data = lambda self, name: source.encode() if Path(name) == path else get_data(self, name)  # pyright: ignore


def main() -> int:
    """Parse the command line; return 1 if a mutant survives."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, default=0, help="number of random mutants; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, nargs="+", default=[], help="only mutants of these lines")
    options = parser.parse_args()
    path = options.module.resolve()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has not started threads yet
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="rgcn-jax-mutants-") as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
        return mutate(path, options.tests, options.sample, options.seed, options.lines)


def mutate(path: Path, tests: list[str], sample: int, seed: int, lines: Sequence[int] = ()) -> int:
    """Run the mutants of a module; print survivors and score; return 1 if any survives."""
    began = time.monotonic()
    if not run_tests(path, None, tests, 3600):
        sys.exit("the tests fail without any change")
    limit = 10 * (time.monotonic() - began) + 10
    tree = ast.parse(path.read_text())
    chosen = spots(tree)
    total = len(chosen)
    if lines:
        chosen = [spot for spot in chosen if mutant(tree, spot)[1] in lines]
    if not chosen:
        sys.exit(f"{path}: nothing to change" + (f" on lines {', '.join(map(str, lines))}" if lines else ""))
    if 0 < sample < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample))
    alive = 0
    for spot in chosen:
        source, line, before, after = mutant(tree, spot)
        if run_tests(path, source, tests, limit):
            alive += 1
            print(f"{path.name}:{line}: survives: {before} -> {after}", flush=True)
    killed = len(chosen) - alive
    print(f"{path.name}: {killed} of {len(chosen)} killed ({total} in all), {100 * killed / len(chosen):.0f} %")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
