import pytest

from bnn.errors import DataError
from bnn.training import plot_history
from bnn.training.folder import HISTORY_COLUMNS
from bnn.training.plots import read_history


def history(tmp_path, steps):
    lines = [",".join(HISTORY_COLUMNS)]
    for total, (step, flips) in enumerate(steps, 1):
        lines.append(f"{total},{step},step{step},1,0.1,{1 / total},0.5,{2 / total},0.6,{flips}")
    path = tmp_path / "history.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "steps", [[(0, "")], [(0, "")] * 3, [(0, "")] * 2 + [(1, 0.1), (1, 0.05)]], ids=len
)
def test_makes_a_picture(tmp_path, steps):
    from PIL import Image

    png = plot_history(history(tmp_path, steps), tmp_path / "curves.png")
    with Image.open(png) as picture:
        assert picture.size == (840, 840)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50


def test_drawing_leaves_pyplot_alone(tmp_path):
    import matplotlib.pyplot as plt

    plot_history(history(tmp_path, [(0, "")]), tmp_path / "curves.png")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(HISTORY_COLUMNS) + "\n", "\0\0"])
def test_what_is_no_history(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"not the history\.csv"):
        plot_history(path, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_missing_history(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        plot_history(tmp_path / "none.csv", tmp_path / "x.png")


def test_short_and_wordy_lines(tmp_path):
    path = history(tmp_path, [(0, "")])
    path.write_text(path.read_text() + "1,2\n")
    with pytest.raises(DataError):
        read_history(path)
    path.write_text(path.read_text().replace("0.5", "half"))
    with pytest.raises(DataError):
        read_history(path)
