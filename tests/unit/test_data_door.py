"""The door for images: files of strangers bring in nothing that lies elsewhere, run nothing and fill nothing."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import constants
from local_sources import encoded, fetched, refusal, settings, table, values, write_folder
from PIL import EpsImagePlugin, Image

from dmin.data import hub
from dmin.data.images import decode_image, open_image
from dmin.data.outside import LARGEST_FILE, UnreadableImageError
from dmin.data.samples import image_bytes
from dmin.runtime.errors import UserError


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return an image outside every source."""
    path = tmp_path / "secret" / "s.png"
    path.parent.mkdir()
    path.write_bytes(encoded(99))
    return path


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            "{secret}",
            marks=pytest.mark.attack(
                "image", "an absolute path in a parquet file", "refused by name; the file is not read"
            ),
        ),
        pytest.param(
            "../secret/s.png",
            marks=pytest.mark.attack("image", "`../` in a parquet file", "refused by name; the file is not read"),
        ),
        pytest.param(
            "link.png",
            marks=pytest.mark.attack(
                "image", "a parquet file that names a link out", "refused by name and by where it leads"
            ),
        ),
        pytest.param(
            "file://{secret}",
            marks=pytest.mark.attack(
                "image", "`file://` in a parquet file", "refused as an address; nothing is fetched"
            ),
        ),
        pytest.param(
            "/proc/self/environ",
            marks=pytest.mark.attack(
                "image", "a file of the kernel in a parquet file", "refused by name; it is not read"
            ),
        ),
    ],
)
@pytest.mark.parametrize("shape", ["text", "struct"])
def test_cells_name_no_file_outside(tmp_path: Path, secret: Path, cell: str, shape: str) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "link.png").symlink_to(secret)
    path = cell.format(secret=secret)
    column = ["a.png", path] if shape == "text" else [{"bytes": None, "path": name} for name in ("a.png", path)]
    sentence = refusal(tmp_path, settings(table(folder / "in.parquet", column)))
    assert sentence.startswith("Source 'lego', row 1: ")
    assert ("lies outside the folder of its source" in sentence) == ("://" not in cell)
    if cell == "link.png":
        assert str(secret) in sentence


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(
            "metadata.jsonl",
            '{"file_name": "../secret/s.png"}\n',
            marks=pytest.mark.attack("image", "`../` in metadata.jsonl", "refused by name; the file is not read"),
        ),
        pytest.param(
            "metadata.csv",
            "file_name\n{secret}\n",
            marks=pytest.mark.attack(
                "image", "an absolute path in metadata.csv", "refused by name; the file is not read"
            ),
        ),
    ],
)
def test_metadata_names_no_file_outside(tmp_path: Path, secret: Path, name: str, text: str) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / name).write_text(text.replace("{secret}", str(secret)))
    assert "lies outside the folder of its source" in refusal(tmp_path, settings(folder, caption_column=None))


@pytest.mark.attack("image", "a link in a folder that leads out", "refused by name and by where it leads")
def test_link_to_a_file_is_refused(tmp_path: Path, secret: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "b.png").symlink_to(secret)
    sentence = refusal(tmp_path, settings(folder, caption_column=None))
    assert "b.png' lies outside" in sentence and str(secret) in sentence
    (folder / "b.png").unlink()
    (folder / "b.png").symlink_to("a.png")
    assert values(fetched(tmp_path, settings(folder, caption_column=None))) == [1, 1]


@pytest.mark.attack("image", "a linked folder in a folder", "refused by name; it is not followed")
def test_link_to_a_folder_is_refused(tmp_path: Path, secret: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "more").symlink_to(secret.parent)
    assert "'more' is a link to a folder" in refusal(tmp_path, settings(folder, caption_column=None))
    (folder / "more").unlink()
    (folder / "loop.png").symlink_to("loop.png")
    assert values(fetched(tmp_path, settings(folder, caption_column=None, on_unreadable="skip"))) == [1]


@pytest.mark.attack(
    "image", "a README.md whose data_files name another folder", "passed over: the folder itself is read"
)
def test_readme_chooses_nothing(tmp_path: Path, secret: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    for files in (str(secret), "../secret/*.png", "https://example.org/a.png"):
        head = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {files!r}\n"
        (folder / "README.md").write_text(f"---\n{head}---\n")
        assert values(fetched(tmp_path, settings(folder, caption_column=None))) == [1]


@pytest.mark.attack("image", "a pipe under an image's name", "refused at once; no job waits for it")
def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    os.mkfifo(folder / "b.png")
    assert "b.png' is a pipe, a device or the like" in refusal(tmp_path, settings(folder, caption_column=None))
    source = settings(table(folder / "in.parquet", ["a.png", "b.png"]))
    with pytest.raises(UserError, match=r"row 1 \(b\.png\) \('b\.png' is a pipe, not a file\)"):
        fetched(tmp_path, source)
    os.mkfifo(tmp_path / "in.parquet")
    with pytest.raises(UserError, match="is no parquet file"):
        fetched(tmp_path, settings(tmp_path / "in.parquet"))


@pytest.mark.attack("image", "a socket under an image's name", "refused at once")
def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    monkeypatch.chdir(folder)  # the name of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("b.png")
        assert "b.png' is a pipe, a device or the like" in refusal(tmp_path, settings(folder, caption_column=None))


@pytest.mark.attack("image", "a link to /dev/zero under an image's name", "refused at once; it is not read")
def test_device_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "b.png").symlink_to("/dev/zero")
    assert "(it is '/dev/zero')" in refusal(tmp_path, settings(folder, caption_column=None))
    with pytest.raises(UnreadableImageError, match="is a device, not a file"):
        image_bytes("/dev/zero", [Path("/dev")])


@pytest.mark.attack("image", "a folder or a NUL in the place of an image's name", "told as an unreadable row")
@pytest.mark.parametrize("name", ["sub.png", "a\0.png", "x" * 300, ".", "a.png/b.png"])
def test_names_of_no_file_are_rows_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "sub.png/b.png")
    source = settings(table(folder / "in.parquet", ["a.png", name]))
    with pytest.raises(UserError, match=r"1 unreadable image\(s\), row 1"):
        fetched(tmp_path, source)
    assert values(fetched(tmp_path, source | {"on_unreadable": "skip"})) == [1]


@pytest.mark.attack("image", "PostScript under an image's name", "refused by its format; no program is started")
def test_postscript_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(%pipe%touch x) (w) file\n"
    for data in (text, b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(text)) + bytes(20) + text):
        with pytest.raises(UnreadableImageError, match="it is PostScript; PNG, JPEG, WEBP, GIF, BMP, TIFF are read"):
            decode_image(data, "x.png", 8)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    """Return a grey PNG file of any size, whatever its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.attack("image", "a decompression bomb", "refused by its size before it is decoded")
@pytest.mark.parametrize("size", [(50_000, 50_000), (12_000, 12_000), (70_000, 10), (1, 2**31 - 1)])
def test_bombs_are_refused_before_decoding(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Image.Image) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(UnreadableImageError, match="million"):
        open_image(png(*size, pixels=bytes(100)), "x.png")


@pytest.mark.attack("image", "texts in a PNG file that unpack to 200 MB", "they are not unpacked; the image is read")
def test_bombs_of_texts_are_not_unpacked() -> None:
    bomb = zlib.compress(bytes(20_000_000), 9)
    chunks = [(kind, b"a\0\0" + bomb) for kind in (b"zTXt", b"iCCP") for _ in range(5)]
    assert open_image(png(4, 4, *chunks, pixels=b"\0\1\2\3\4" * 4), "x.png").getpixel((2, 2)) == 3


@pytest.mark.attack("image", "a file of gigabytes under an image's name", "refused by its size before it is read")
def test_large_files_are_not_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    with (folder / "b.png").open("wb") as file:
        file.truncate(LARGEST_FILE * 40)
    with pytest.raises(UserError, match=r"row 1 \(b\.png\) \('b\.png' is larger than 256 MiB\)"):
        fetched(tmp_path, settings(folder, caption_column=None))


@pytest.mark.attack(
    "image", "pickles and .pth files in a webdataset tar", "they stay bytes; the images beside them are read"
)
def test_files_in_tars_stay_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    monkeypatch.setattr(WebDataset, "DECODERS", dict(WebDataset.DECODERS))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    trap = pickle.dumps(Trap())
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name, data in (
            ("0.png", encoded(5)),
            ("0.pth", trap),
            ("0.pickle", trap),
            ("0.npy", trap),
            ("0.txt", b"a"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    load = datasets.load_dataset_builder

    def local(_: str, **__: Any) -> Any:
        return load("webdataset", data_files=str(tmp_path / "in.tar"), cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset_builder", local)
    opened = hub.open_hub("lego", "owner/images", "train", None)
    row = next(iter(opened.read(["png", "pth", "npy"])))
    assert row["png"]["bytes"] == encoded(5) and row["pth"] == row["npy"] == trap and not (tmp_path / "ran").exists()
    config = settings("owner/images", image_column="png", caption_column="txt")
    frame = fetched(tmp_path, config)
    assert values(frame) == [5] and frame["prompt"].tolist() == ["a"]


@pytest.mark.attack("image", "a data set on the hub kept as pickles", "refused by the name of its format")
@pytest.mark.parametrize("reader", ["pandas", "sql", "hdf5"])
def test_readers_that_do_more_than_read_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reader: str
) -> None:
    class Builder:
        def download_and_prepare(self) -> None:
            raise AssertionError("the data set was read")

    Builder.__module__ = f"datasets.packaged_modules.{reader}.{reader}"
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder())
    with pytest.raises(UserError, match=f"are in the format {reader}, which is not read"):
        fetched(tmp_path, settings("owner/images"))


@pytest.mark.attack(
    "image", "a data set on the hub that names a file of this machine", "refused by name; it is not read"
)
def test_hub_names_no_file_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "prompt": datasets.Value("string")})
    rows = {"image": [{"bytes": None, "path": str(secret)}], "prompt": ["p"]}
    made = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(hub, "load_hub_dataset", lambda *_: made)
    assert "lies outside the folder of its source" in refusal(tmp_path, settings("owner/images"))
    # As the hub's cache keeps an image: a link in a snapshot to a blob beside it.
    cache = tmp_path / "hub" / "datasets--owner--images"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    (cache / "blobs" / "0").write_bytes(encoded(5))
    (cache / "snapshots" / "a.png").symlink_to("../blobs/0")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    rows["image"] = [{"bytes": None, "path": str(cache / "snapshots" / "a.png")}]
    made = datasets.Dataset.from_dict(rows, features=features)
    assert values(fetched(tmp_path, settings("owner/images"))) == [5]
