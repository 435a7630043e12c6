"""The builders of TensorFlow Datasets over what the preparation wrote, and the lines of the docs that use them."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.prepared import tfds_builders
from rgcn_jax.data.prepared.format import builder_name
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts
from tests.data.prepared import preparing

DOCS = Path(__file__).parents[3] / "docs" / "input-pipeline.md"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return preparing.write(tmp_path_factory.mktemp("builders") / "MARS")


@pytest.fixture(scope="module")
def out(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    assert preparing.run_here(root, f"--out={out}", "--frames_per_shard=20") == 0
    return out


def test_every_data_set_has_one(tmp_path):
    documented = DOCS.read_text()
    for name in DATA_SETS:
        assert f"`{builder_name(name)}`" in documented
        assert tfds.builder_cls(builder_name(name)).__module__ == tfds_builders.__name__
        builder = tfds.builder(builder_name(name), data_dir=tmp_path)
        features = builder.info.features
        assert isinstance(features, tfds.features.FeaturesDict)
        assert features["image"].shape == (None, None, 3)
        with pytest.raises(InputError, match=f"rgcn_jax.data.prepare --dataset={name} .*--out={tmp_path}"):
            builder.download_and_prepare()
    assert not list(tmp_path.iterdir())


def test_it_gives_what_the_files_alone_give(root, out):
    builder, files = tfds.builder("mars_pose", data_dir=out), tfds.builder_from_directory(out / "mars_pose" / "1.0.0")
    assert isinstance(builder, tfds_builders.BUILDERS["mars"])
    assert repr(builder.info.features) == repr(files.info.features)
    assert builder.info.full_name == files.info.full_name == "mars_pose/1.0.0"
    assert builder.info.splits.keys() == {"train", "test"}
    split = mars.load(root)
    assert builder.info.splits["train"].num_examples == sum(len(t.frames) for t in split.train)
    builder.download_and_prepare()
    for part in ("train", "test"):
        ours, theirs = preparing.records(builder, part), preparing.records(files, part)
        assert len(ours) == len(theirs) == builder.info.splits[part].num_examples
        for row in (0, len(ours) - 1):
            assert ours[row].keys() == theirs[row].keys()
            for key, value in ours[row].items():
                np.testing.assert_array_equal(value, theirs[row][key])
    source = cast("Sequence[Any]", tfds.data_source("mars_pose", data_dir=out, split="train"))  # of one split
    assert source[0]["name"] == split.train[0].frames[0].encode()


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_part_of_every_data_set_is_read(name, tmp_path):
    root = layouts.make(tmp_path / "root", name)
    assert preparing.run_here(root, f"--out={tmp_path / 'out'}", "--height=32", "--width=16", dataset=name) == 0
    several = name in ("ilids_vid", "prid2011")
    split = DATA_SETS[name].load(root)
    builder = tfds.builder(builder_name(name), data_dir=tmp_path / "out")
    assert builder.info.splits.keys() == ({"frames"} if several else {"train", "test"})
    seen = {record["name"].decode() for part in builder.info.splits for record in preparing.records(builder, part)}
    assert {f for t in (*split.train, *split.query, *split.gallery, *split.junk) for f in t.frames} <= seen
    assert len(preparing.records(builder, f"{min(builder.info.splits)}[:5]")) == 5


def test_the_lines_of_the_docs_with_and_without_this_package(out):
    """TensorFlow itself is not needed to read records that way, and not loaded by the import."""
    (lines,) = re.findall(
        r"\n\n(    import rgcn_jax.data.prepared.tfds_builders\n.*?)\n\n[^ ]", DOCS.read_text(), re.DOTALL
    )
    code = textwrap.dedent(lines).replace("/data/prepared", str(out))
    first, rest = code.split("\n", 1)
    reported = []
    for program in (f"import sys\n{first}\nassert 'tensorflow' not in sys.modules\n{rest}", rest):
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        reported.append(process.stdout)
    assert reported[0] == reported[1]
    assert reported[0].startswith("(256, 128, 3) (14, 3)\n")
