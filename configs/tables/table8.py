"""Table VIII: quoted results of published systems, compared with BiCnet-TKS with LGCN.

rgcn-jax sweep table8 --dataset=mars --config.data.root=/path/to/MARS --out=runs/tables

The results are as printed for MARS in table VIII of Pan et al., who quote the papers named; the originals were not
consulted. Its incomplete columns of DukeMTMC-VideoReID and iLIDS-VID are omitted.
"""

from rgcn_jax.experiments.table import Column, Row, Table

QUOTED = (
    # name, venue, mAP and Rank-1 on MARS
    ("RGSA", "AAAI 2020", 84.0, 89.4),
    ("FGRA", "AAAI 2020", 81.2, 87.3),
    ("MGH", "CVPR 2020", 85.8, 90.0),
    ("STGCN", "CVPR 2020", 83.7, 90.0),
    ("TCLNet", "ECCV 2020", 85.8, 89.8),
    ("AP3D", "ECCV 2020", 85.1, 90.1),
    ("ASTA", "MM 2020", 84.1, 90.4),
    ("SSN3D", "AAAI 2021", 86.2, 90.1),
    ("BiCnet-TKS", "CVPR 2021", 86.0, 90.2),
    ("GRL", "CVPR 2021", 84.8, 91.0),
    ("CTL", "CVPR 2021", 86.7, 91.4),
    ("STRF", "ICCV 2021", 86.1, 90.3),
    ("HMN", "TCSVT", 82.6, 88.5),
    ("SGMN", "TCSVT", 85.4, 90.8),
    ("BiC+LGCN", "", 86.5, 91.1),
)

COLUMNS = (
    Column("mars", "mAP"),
    Column("mars", "rank1"),
)


def get_table() -> Table:
    """Fourteen quoted rows and the paper's own model."""
    rows = []
    for name, venue, *values in QUOTED:
        numbers = {(c.data_set, c.metric): v for c, v in zip(COLUMNS, values, strict=True)}
        own = {"model.appearance": "BiC", "model.pose": "LGCN"} if not venue else None
        source = f"{venue}, quoted by Pan et al., table VIII" if venue else "Pan et al., table VIII"
        rows.append(Row(name, own, numbers, source))
    return Table("Table VIII: comparison with the state of the art", COLUMNS, tuple(rows))
