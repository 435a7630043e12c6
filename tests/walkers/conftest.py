import pytest

from rgcn_jax.walkers import WalkersSpec, generate


@pytest.fixture(scope="session")
def small():
    """Four training and six test people in pairs, three cameras; fresh arrays on every access."""
    return generate(
        WalkersSpec(
            train_identities=4,
            test_identities=6,
            group_size=2,
            cameras=3,
            min_frames=3,
            max_frames=6,
            distractors=4,
            junk=3,
            seed=11,
        )
    )
