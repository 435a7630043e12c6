import pytest

from rgcn_jax.walkers import WalkersSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train_identities": 100}, r"train_identities must be a positive multiple of group_size \(3\).*found 100"),
        ({"test_identities": 0}, r"test_identities must be a positive multiple.*found 0"),
        ({"group_size": 0}, r"positive multiple of group_size \(0\)"),
        ({"train_identities": 9999}, "at most 9999.*found 10059"),
        ({"cameras": 1}, "cameras must be 2 to 8.*found 1"),
        ({"cameras": 9}, "cameras must be 2 to 8.*found 9"),
        ({"min_frames": 41}, "min_frames=41, max_frames=40"),
        ({"min_frames": 0}, "min_frames=0, max_frames=40"),
        ({"tracklets_per_camera": 0}, "tracklets_per_camera must be 1 or more: found 0"),
        ({"variation": -0.5}, "variation must be 0 or more: found -0.5"),
        ({"variation": float("nan")}, "variation must be 0 or more: found nan"),
        ({"junk": -1}, "junk must be 0 or more: found -1"),
        ({"seed": -1}, "seed must be 0 or more: found -1"),
    ],
)
def test_a_field_out_of_range_is_named_with_what_was_found(fields, message):
    with pytest.raises(ValueError, match=message):
        WalkersSpec(**fields)


def test_specs_are_values():
    assert WalkersSpec(seed=3) == WalkersSpec(seed=3)
    assert len({WalkersSpec(seed=3), WalkersSpec(seed=3), WalkersSpec(seed=4)}) == 2
