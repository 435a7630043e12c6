"""The registry of data sets: the number of published splits from the files, and loading by split number."""

import pytest

from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_split_up_to_the_number_of_splits_can_be_loaded(name, tmp_path):
    data_set, root = DATA_SETS[name], layouts.make(tmp_path / name, name)
    count = data_set.num_splits(root)
    assert (count > 1) == (name in SEVERAL_SPLITS)
    descriptions = [data_set.load(root, number).split_description for number in range(1, count + 1)]
    assert len(set(descriptions)) == count
    assert all(descriptions) == (count > 1)
    with pytest.raises(InputError, match=f"split {count + 1}"):
        data_set.load(root, count + 1)


def test_only_ilids_vid_and_prid2011_have_several_splits(tmp_path):
    assert SEVERAL_SPLITS == ("ilids_vid", "prid2011")
    with pytest.raises(InputError, match="is incomplete"):
        DATA_SETS["ilids_vid"].num_splits(tmp_path)
