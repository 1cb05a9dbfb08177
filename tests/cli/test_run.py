import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import bnn as library
from bnn.training import load_checkpoint, load_data

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").test


@pytest.fixture
def folder(tmp_path):
    """Pictures of several kinds, names and sizes."""
    path = tmp_path / "photos"
    (path / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save(path / "b.png")
    Image.fromarray(np.stack([grey, grey, grey], -1)).save(path / "A.JPG")
    Image.fromarray(grey).convert("P").save(path / "below" / "c.gif")
    (path / "notes.txt").write_text("no picture")
    return path


def saved(path, array):
    np.save(path, array)
    return path


def test_array_gives_what_the_checkpoint_gives(bnn, net, trained, digits, tmp_path):
    images = digits.images[:70]
    path = saved(tmp_path / "digits.npy", images.numpy())
    got = json.loads(bnn("run", net, path, "--top", 10, "--json").stdout)["inputs"]
    with torch.no_grad():
        expected = load_checkpoint(trained).model(images).softmax(1)
    assert [row["input"] for row in got] == [f"{path}[{i}]" for i in range(70)]
    for row, probabilities in zip(got, expected, strict=True):
        assert row["top"][0]["class"] == int(probabilities.argmax())
        shares = [one["probability"] for one in row["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        for one in row["top"]:
            assert one["probability"] == pytest.approx(float(probabilities[one["class"]]), abs=1e-5)


def test_one_array(bnn, net, digits, tmp_path):
    path = saved(tmp_path / "one.npy", digits.images[0].numpy())
    ran = bnn("run", net, path)
    assert ran.code == 0
    assert ran.stdout.startswith(f"{path}  ")
    assert ran.stdout.rstrip().endswith("%")
    assert ran.stdout.count("\n") == 1


def test_picture_is_prepared_as_asked(bnn, net, trained, digits, tmp_path):
    # A digit as a picture, and the mean and deviation that the training data was prepared with.
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    path = tmp_path / "digit.png"
    Image.fromarray(pixels).save(path)
    got = json.loads(bnn("run", net, path, "--mean", "0.3", "--std", "0.4", "--json").stdout)
    image = (torch.from_numpy(pixels).float().view(1, 1, 8, 8) / 255 - 0.3) / 0.4
    with torch.no_grad():
        expected = load_checkpoint(trained).model(image).softmax(1)
    (row,) = got["inputs"]
    assert row["top"][0]["class"] == int(expected.argmax())
    assert row["top"][0]["probability"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert got["preparation"]["size"] == [8, 8]
    assert got["preparation"]["mean"] == [0.3]


def as_pictures(digits, folder, count):
    """Write held-out digits as the pictures that they were, white 255."""
    raw = load_digits().images / 16
    stored = load_data("digits")
    folder.mkdir()
    for i in range(count):
        image = digits.images[i, 0] * stored.std[0] + stored.mean[0]
        assert (abs(raw - image.numpy()).max((1, 2)) < 1e-5).any()  # one of scikit-learn's
        pixels = np.rint(image.numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return folder


def test_pictures_of_the_training_data_need_no_options(bnn, net, trained, digits, tmp_path):
    folder = as_pictures(digits, tmp_path / "digits", 60)
    ran = bnn("run", net, folder, "--json")
    assert ran.stderr == ""
    got = json.loads(ran.stdout)
    data = load_data("digits")
    assert got["preparation"]["mean"] == pytest.approx(data.mean)
    assert got["preparation"]["std"] == pytest.approx(data.std)
    images = (digits.images[:60] * data.std[0] + data.mean[0]).mul(255).round().div(255)
    with torch.no_grad():
        expected = load_checkpoint(trained).model((images - data.mean[0]) / data.std[0]).argmax(1)
    assert [row["top"][0]["class"] for row in got["inputs"]] == expected.tolist()


@pytest.fixture
def bare(net, tmp_path):
    """The network in a file that does not say how pictures are prepared."""
    network = library.load(net)
    network.preprocessing = None
    library.save(network, tmp_path / "bare.bnn")
    return tmp_path / "bare.bnn"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "assumed: --mean 0 and --std 1."),
        (("--mean", "0.3"), "assumed: --std 1."),
        (("--std", "0.3"), "assumed: --mean 0."),
        (("--mean", "0.3", "--std", "0.4"), ""),
    ],
)
def test_what_is_assumed_is_said(bnn, bare, folder, options, said):
    ran = bnn("run", bare, folder, *options)
    assert ran.code == 0
    assert ran.stderr.startswith(said)
    assert bool(ran.stderr) == bool(said)


@pytest.mark.parametrize("kind", ["big.png", "big.tif", "big.pgm"])
def test_sixteen_bits_are_not_cut_to_eight(tmp_path, kind):
    from bnn.cli.pictures import Preparation

    eight = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(eight).save(tmp_path / "small.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / kind)
    for channels in (1, 3):
        prepared = Preparation(channels, (8, 8), 8, (0.0,) * channels, (1.0,) * channels)
        expected = prepared.read(tmp_path / "small.png")
        assert torch.equal(prepared.read(tmp_path / kind), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_white_are_refused(fails, net, tmp_path, dtype):
    path = tmp_path / "x.tif"
    Image.fromarray(np.ones((8, 8), dtype)).save(path)
    assert "nothing says which is white" in fails("run", net, path, code=1)


def test_scales_then_cuts_the_middle(tmp_path):
    from bnn.cli.pictures import Preparation

    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[:, 50:150] = (255, 128, 0)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    image = Preparation(3, (32, 48), 64, (0.5, 0.5, 0.5), (1.0, 1.0, 0.5)).read(path)
    assert tuple(image.shape) == (3, 32, 48)
    assert torch.equal(image[0], torch.full((32, 48), 0.5))
    assert torch.equal(image[2], torch.full((32, 48), -1.0))


def test_folder(bnn, net, folder, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit [bold]{i}[/]" for i in range(10)) + "\n\n")
    ran = bnn("run", net, folder, "--labels", labels, "--top", 2)
    assert ran.code == 0
    lines = ran.stdout.splitlines()
    assert [line.split()[0].rpartition("/")[2] for line in lines] == ["A.JPG", "b.png", "c.gif"]
    assert all(line.count("digit [bold]") == 2 for line in lines)
    as_json = json.loads(bnn("run", net, folder, "--labels", labels, "--json").stdout)
    assert as_json["inputs"][1]["top"][0]["label"].startswith("digit [bold]")


def test_other_size(bnn, net, folder):
    got = json.loads(bnn("run", net, folder, "--size", "16x12", "--resize", "20", "--json").stdout)[
        "preparation"
    ]
    assert (got["size"], got["shorter"]) == ([16, 12], 20)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--size", "0"), "--size"),
        (("--size", "8x8x8"), "--size"),
        (("--size", "-3"), "--size"),
        (("--size", "99999"), "--size"),
        (("--size", ""), "--size"),
        (("--resize", "0"), "--resize"),
        (("--mean", "a"), "--mean"),
        (("--mean", "0.1,0.2"), "--mean"),
        (("--mean", "nan"), "--mean"),
        (("--std", "0"), "--std"),
        (("--std", "-1"), "--std"),
        (("--std", "inf"), "--std"),
        (("--top", "0"), "--top"),
    ],
    ids=" ".join,
)
def test_wrong_usage(fails, net, folder, options, named):
    assert named in fails("run", net, folder, *options, code=2)


def test_arrays_are_taken_as_they_are(fails, net, tmp_path):
    path = saved(tmp_path / "x.npy", np.zeros((1, 8, 8), np.float32))
    for option in ("--size", "--mean", "--std"):
        assert option in fails("run", net, path, option, "8", code=2)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8)),
        np.zeros((8, 8)),
        np.zeros((0, 1, 8, 8)),
        np.zeros((2, 1, 1, 8, 8)),
        np.array(1.0),
        np.zeros((1, 8, 8), complex),
        np.array(["a"] * 64).reshape(1, 8, 8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_that_do_not_fit(fails, net, tmp_path, array):
    assert "x.npy" in fails("run", net, saved(tmp_path / "x.npy", array), code=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_are_pixels_that_nobody_prepared(fails, net, tmp_path, dtype):
    message = fails("run", net, saved(tmp_path / "x.npy", np.ones((1, 8, 8), dtype)), code=1)
    assert f"holds {np.dtype(dtype)}; give float32" in message


def test_conversion_is_said(bnn, net, tmp_path):
    ran = bnn("run", net, saved(tmp_path / "x.npy", np.zeros((1, 8, 8), np.float64)))
    assert (ran.code, ran.stderr) == (0, "converted from float64 to float32\n")
    assert bnn("run", net, saved(tmp_path / "x.npy", np.zeros((1, 8, 8), "f4"))).stderr == ""


def test_one_number(fails, net, tmp_path):
    path = saved(tmp_path / "scalar.npy", np.float32(1.0))
    assert "holds a single number; give 1x8x8" in fails("run", net, path, code=1)


def test_an_archive_of_arrays(fails, net, tmp_path):
    np.savez(tmp_path / "x.npz", np.zeros((1, 8, 8), np.float32))
    (tmp_path / "x.npz").rename(tmp_path / "y.npy")
    np.savez(tmp_path / "x.npz", np.zeros((1, 8, 8), np.float32))
    for name in ("x.npz", "y.npy"):
        message = fails("run", net, tmp_path / name, code=1)
        assert "archive of arrays; give one of them" in message


def test_empty_paths(fails, net, folder):
    assert "path is empty" in fails("run", net, "", code=2)
    assert "path is empty" in fails("run", "", folder, code=1)
    assert "path is empty" in fails("run", net, folder, "--labels", "", code=2)


def test_array_of_objects_runs_nothing(fails, net, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "was-run"), "w")

    path = tmp_path / "x.npy"
    np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
    message = fails("run", net, path, code=1)
    assert "allow_pickle" not in message
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.png", "x.jpg"])
@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40]
)
def test_damaged(fails, net, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in fails("run", net, tmp_path / name, code=1)


def test_array_that_lies_about_its_size(fails, net, tmp_path):
    path = saved(tmp_path / "x.npy", np.zeros((4, 1, 8, 8), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(4, 1, 8, 8)", b"(9**9,8,8,8)"))
    fails("run", net, path, code=1)
    path.write_bytes(path.read_bytes().replace(b"(9**9,8,8,8)", b"(999999999,)"))
    fails("run", net, path, code=1)


def test_cut_off_picture(fails, bnn, net, folder):
    path = folder / "A.JPG"
    path.write_bytes(path.read_bytes()[:400])
    assert "A.JPG" in fails("run", net, path, code=1)
    (folder / "z.png").write_bytes(b"none")
    ran = bnn("run", net, folder)
    assert ran.code == 1
    lines = ran.stdout.splitlines()
    assert [line.split()[0].rpartition("/")[2] for line in lines] == ["b.png", "c.gif"]
    first, second = ran.stderr.splitlines()
    assert first.startswith(f"error: {path}: ")
    assert second.startswith(f"error: {folder / 'z.png'}: ")
    got = json.loads(bnn("run", net, folder, "--json").stdout)
    assert [row["input"] for row in got["failed"]] == [str(path), str(folder / "z.png")]
    assert len(got["inputs"]) == 2


def test_no_picture_of_a_folder_is_one(bnn, net, tmp_path):
    (tmp_path / "a.png").write_bytes(b"none")
    ran = bnn("run", net, tmp_path)
    assert (ran.code, ran.stdout) == (1, "")


def test_an_isa_is_not_blamed_on_the_picture(process, net, folder):
    ran = process(f"bnn run {net} {folder}", BNN_ISA="sse9")
    assert ran.code == 2
    assert ran.stderr.startswith("error: BNN_ISA=sse9: there is no such ISA.")


def test_huge_picture(fails, net, folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert "cannot be read" in fails("run", net, folder / "b.png", code=1)


def test_long_picture(fails, net, tmp_path):
    path = tmp_path / "long.png"
    Image.fromarray(np.zeros((1, 60000), np.uint8)).save(path)
    assert "long" in fails("run", net, path, "--resize", "4096", code=1)


def test_top_0(fails, net, folder):
    message = fails("run", net, folder, "--top", "0", code=2)
    assert "--top" in message
    assert "Input" not in message


def test_nothing_there(fails, net, tmp_path):
    assert "no such file" in fails("run", net, tmp_path / "none.png", code=1)
    assert "no such file" in fails("run", net, tmp_path / "none.npy", code=1)
    (tmp_path / "empty").mkdir()
    assert "no picture" in fails("run", net, tmp_path / "empty", code=1)


def test_without_pillow(fails, net, folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    assert "pip install pillow" in fails("run", net, folder / "b.png", code=1)


@pytest.mark.parametrize("content", [b"one\n", b"\xff\xfe\x00", b"long" * 2**22 + b"er"])
def test_labels_that_do_not_fit(fails, net, folder, tmp_path, content):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content)
    assert "labels" in fails("run", net, folder, "--labels", labels, code=1)
    fails("run", net, folder, "--labels", tmp_path / "none.txt", code=1)


def test_no_network(fails, folder, tmp_path):
    assert "x.bnn" in fails("run", tmp_path / "x.bnn", folder, code=1)
    (tmp_path / "x.bnn").write_bytes(b"\x93random")
    assert "x.bnn" in fails("run", tmp_path / "x.bnn", folder, code=1)
