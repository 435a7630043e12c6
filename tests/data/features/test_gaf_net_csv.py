"""Embeddings as GAF-Net publishes them: a CSV file for query and gallery of each split of iLIDS-VID."""

import numpy as np
import pytest

from rgcn_jax.data.datasets import ilids_vid
from rgcn_jax.data.features.__main__ import main
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts

WIDTH = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return layouts.make(tmp_path_factory.mktemp("gaf") / "ilids", "ilids_vid")


def lines(tracklets, persons, index=False):
    """A line of titles, then D numbers, person and camera, persons counted from 0; ``index``: as pandas has it."""
    rng = np.random.default_rng(len(tracklets))
    features = rng.standard_normal((len(tracklets), WIDTH)).astype(np.float32)
    titles = [*([""] if index else []), *map(str, range(WIDTH)), "pid", "camid"]
    text = [",".join(titles)]
    for row, (tracklet, values) in enumerate(zip(tracklets, features.tolist(), strict=True)):
        fields = [*([row] if index else []), *values, float(persons.index(tracklet.person_id)), tracklet.camera_id - 1]
        text.append(",".join(map(str, fields)))
    return text, features


@pytest.mark.parametrize("index", [False, True])
def test_query_and_gallery_of_a_split_come_back(index, root, tmp_path, capsys):
    split = ilids_vid.load(root, 2)
    persons = sorted(t.person_id for t in split.query)
    expected = []
    for part, tracklets in (("gallery", split.gallery), ("query", split.query)):
        text, features = lines(tracklets, persons, index)
        expected.append(features)
        (tmp_path / f"{part}_split1.csv").write_text("\n".join(text) + "\n")
    files = [f"--from={tmp_path}/{part}_split1.csv" for part in ("query", "gallery")]
    options = ["--dataset=ilids_vid", f"--root={root}", "--split=2", f"--out={tmp_path}/f.npz"]
    main([*files, *options])
    assert "test persons are numbered from 0" in capsys.readouterr().out
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_array_equal(found["appearance"], np.concatenate(expected))
        assert found["person_ids"].tolist() == [t.person_id for t in (*split.gallery, *split.query)]
        assert found["is_query"].tolist() == [False] * len(persons) + [True] * len(persons)
    (tmp_path / "query_split1.csv").write_text("\n".join([text[0], *reversed(text[1:])]) + "\n")
    with pytest.raises(InputError, match="not in the data set's order"):
        main([*files, *options])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5,1,0\n0.1,1,0\n", "expected a header"),
        ("a,pid,camid\n0.5,1\n", "columns of the header"),
        ("a,pid,camid\n", "columns of the header"),
        ("a,pid,camid\nx,1,0\n", "cannot be read"),
        ("a,pid,camid\n0.5,1.5,0\n", "whole numbers"),
        ("a,pid,camid\nnan,1,0\n", "not finite"),
        ("", "columns of the header"),
    ],
)
def test_other_files_are_refused(text, expected, root, tmp_path):
    (tmp_path / "query.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        main([f"--from={tmp_path}/query.csv", "--dataset=ilids_vid", f"--root={root}", f"--out={tmp_path}/f.npz"])
