"""The benchmark of the evaluation's time runs on this checkout, and beside another one."""

from benchmarks import evaluation_time


def test_a_small_case_beside_this_checkout_itself(capsys):
    place = evaluation_time.REPOSITORY
    evaluation_time.main([f"--beside={place}", "--tracklets=360", "--queries=40", "--repetitions=1"])
    *places, ratios = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in places] == [str(place)] * 2
    assert ratios.startswith("rankings ")
