"""``benchmarks/scale.py``: each part does its work at a small size, and a row is printed as the header says."""

import pytest

from benchmarks import scale, scale_chart


@pytest.mark.parametrize("part", scale.PARTS)
def test_each_part_measures_its_units(part):
    call, *_ = scale.PARTS[part]
    measured = call(*scale.SMALL[part])
    assert measured.seconds >= 0
    assert measured.units > 0


def test_the_lists_are_those_of_the_layout(tmp_path):
    """A tenth of the test tracklets are queries, and each frame is listed once."""
    from rgcn_jax.data.datasets import mars

    scale.write_lists(tmp_path / "info", tracklets=80, frames=3)
    split = mars.load(tmp_path, check_files=False)
    assert (len(split.train), len(split.query), len(split.gallery)) == (40, 4, 40)
    assert {len(tracklet.frames) for tracklet in (*split.train, *split.gallery)} == {3}


def test_a_row_is_a_process_of_its_own_and_is_kept_and_drawn(capsys, tmp_path):
    scale.main(["sampling", "--rows=1", f"--save={tmp_path / 'rows.jsonl'}"])
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].split("|")]
    assert row[1:3] == ["2,000", "60"]
    assert float(row[3]) >= 0
    assert row[5].endswith(" a batch")
    kept = scale_chart.read_rows(tmp_path / "rows.jsonl")
    assert [(r["first"], r["second"], r["unit"]) for r in kept["sampling"]] == [(2000, 60, "batch")]
    pytest.importorskip("matplotlib")
    scale_chart.main([str(tmp_path / "rows.jsonl"), str(tmp_path / "chart.png")])
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit):
        scale.main(["rankings"])
    assert "unknown rankings" in capsys.readouterr().err
