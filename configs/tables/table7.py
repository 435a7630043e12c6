"""Table VII: the weight lambda of the appearance triplet, adaptive or fixed, over AP. 1.0 trains no pose triplet.

rgcn-jax sweep table7 --dataset=walkers --seeds=0:2 --out=runs/tables

On walkers the pose branches are trained with precomputed features of AP.
"""

from rgcn_jax.experiments.table import Row, Table, columns, published

PUBLISHED = {
    ("RGCN", "adaptive"): ((82.6, 87.9), (89.4, 84.7)),
    ("RGCN", "0.5"): ((82.2, 86.6), (88.7, 84.0)),
    ("RGCN", "1.0"): ((82.1, 86.8), (87.5, 82.0)),
    ("LGCN", "adaptive"): ((82.3, 88.0), (90.4, 86.0)),
    ("LGCN", "0.5"): ((82.0, 87.1), (89.5, 84.7)),
    ("LGCN", "1.0"): ((81.7, 87.3), (89.3, 84.3)),
}
"""The paper's mAP and Rank-1 on MARS and on iLIDS-VID."""


def get_table() -> Table:
    """Appearance only, followed by six rows."""
    alone = Row("AP", {"model.pose": "none"}, published(mars=(81.1, 85.2), ilids_vid=(87.6, 82.0)))
    rows = [
        Row(
            f"{pose}, lambda {weight}",
            {"model.pose": pose, "loss.appearance_weight": weight},
            published(mars=mars, ilids_vid=ilids_vid),
        )
        for (pose, weight), (mars, ilids_vid) in PUBLISHED.items()
    ]
    return Table(
        "Table VII: comparison with the different values of lambda",
        columns("mars", "ilids_vid", "walkers"),
        (alone, *rows),
        features_from={"walkers": "AP"},
    )
