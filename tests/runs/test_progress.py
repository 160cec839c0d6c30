"""Progress: what a bar shows of the stretches of work that a stage tells it of."""

from emeraldcut.runs import SILENT, Bar, map_chunks


def length(chunk):
    return len(chunk)


def test_a_bar_for_each_stretch_of_work(capsys):
    with Bar("screen") as bar:
        bar.begin(4, "images", "first pass")
        assert list(map_chunks(length, [range(3), range(1)], progress=bar)) == [3, 1]
        bar.begin(None, "epochs")
        bar.advance(loss=0.25)
        bar.write("half of it is done.")
    out, err = capsys.readouterr()
    first, second = err.split("screen: first pass")[-1], err.split("screen: ")[-1]
    assert out == "" and "4/4" in first and " images" in first
    assert "1 epochs" in second and "loss=0.25" in second and "half of it is done." in err


def test_a_silent_bar_says_nothing(capsys):
    for progress in (Bar("screen", silent=True), SILENT):
        progress.begin(2)
        assert list(map_chunks(length, [range(2)], progress=progress)) == [2]
    assert capsys.readouterr() == ("", "")
