import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.walkers import WalkersSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train_identities": 100}, r"train_identities is 100.*multiple of group_size \(3\)"),
        ({"test_identities": 0}, "test_identities .*found 0"),
        ({"group_size": 0}, "group_size .*found 0"),
        ({"train_identities": 9999}, "add up to 10059: expected at most 9999"),
        ({"cameras": 1}, "cameras .*from 2 to 8: found 1"),
        ({"cameras": 9}, "cameras .*from 2 to 8: found 9"),
        ({"min_frames": 41}, "min_frames is 41 and max_frames is 40"),
        ({"min_frames": 0}, "min_frames .*found 0"),
        ({"max_frames": 1000}, "max_frames .*found 1000"),
        ({"tracklets_per_camera": 0}, "tracklets_per_camera .*of 1 or more: found 0"),
        ({"variation": -0.5}, "variation .*of 0 or more: found -0.5"),
        ({"variation": float("nan")}, "variation .*of 0 or more: found nan"),
        ({"junk": -1}, "junk .*found -1"),
        ({"seed": -1, "cameras": 1}, "cameras .*found 1; seed .*found -1"),
    ],
)
def test_a_field_out_of_range_is_named_with_what_was_found(fields, message):
    with pytest.raises(InputError, match=message):
        WalkersSpec(**fields)


def test_specs_are_values():
    assert WalkersSpec(seed=3) == WalkersSpec(seed=3)
    assert len({WalkersSpec(seed=3), WalkersSpec(seed=3), WalkersSpec(seed=4)}) == 2
