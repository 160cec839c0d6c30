"""Files of every format that is read, and how they are damaged: for tests, and by hand for `benchmarks/fuzz.py`."""

import dataclasses
import io
import re
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from astropy.io import fits
from astropy.table import Table
from PIL import Image
from pyarrow import feather

from emeraldcut.data import ImageSet
from emeraldcut.data.flags import SENTENCES, usable
from emeraldcut.errors import EmeraldcutError
from emeraldcut.exchange import sia
from emeraldcut.images import open_images, write_images
from emeraldcut.images.claims import BadImage
from emeraldcut.images.formats import KINDS
from emeraldcut.images.psf import LARGEST_SIDE_PIX, read_psf, usable_image
from emeraldcut.nbody import Snapshot, read_snapshot, write_snapshot
from emeraldcut.nbody.snapshot import COMPONENTS
from emeraldcut.networks import load_network
from emeraldcut.networks.network import SHIPPED
from emeraldcut.review.verdicts import Entry, Verdicts, now
from emeraldcut.runs.reading import UNPACKERS
from emeraldcut.screening.ranking import read_rankings
from emeraldcut.tables import read_table, write_table
from emeraldcut.tables.files import ENDINGS
from tests.helpers import fits_bytes, npy_bytes, tan_wcs

PLANES, SIDE = 3, 12
NETWORK_FILES = ("card.json", "model.json", "model.weights.h5", "open_set.npz", "ranking.json")
OWN = "snapshot_000.hdf5"
LONGEST_S = 20.0  # for one damaged file on a busy machine; a hang takes for ever


@dataclass(frozen=True)
class Sample:
    """A whole file: its name, how it is made, where its data begin, and how many rows it has."""

    name: str
    content: bytes
    data: int = 0
    rows: int = 1


def pixels(number=PLANES, kind="f4"):
    return (np.random.default_rng(1).normal(size=(number, SIDE, SIDE)) * 20 + 100).astype(kind)


def picture(form, **options):
    file = io.BytesIO()
    Image.fromarray(pixels(1, "u1")[0]).save(file, form, **options)
    return file.getvalue()


def tiff(**options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels(), photometric="minisblack", **options)
    return file.getvalue()


def packed(kind):
    """A cube in compressed tiles."""
    tiles = {"tile_shape": (1, SIDE, SIDE)}
    unit = fits.CompImageHDU(pixels(kind="i2" if kind == "PLIO_1" else "f4"), compression_type=kind, **tiles)
    return fits_bytes(fits.PrimaryHDU(), unit)


def hdf5():
    file = io.BytesIO()
    with h5py.File(file, "w") as target:
        target.create_dataset("images", data=pixels(), chunks=(1, SIDE, SIDE), compression="gzip")
        target["ans"] = np.arange(PLANES)
    return file.getvalue()


def parquet():
    file = io.BytesIO()
    rows = [{"bytes": picture("PNG"), "path": None}] * PLANES
    pq.write_table(pa.table({"image": rows, "id": ["a", "b", "c"]}), file)
    return file.getvalue()


def text_map():
    return "".join(f"{value:.1f}\n" for value in np.random.default_rng(1).normal(100, 20, 2500)).encode()


@cache
def table(ending):
    """A table of files in a format, by its ending or by the name of its reader."""
    from tempfile import TemporaryDirectory

    rows = Table({"id": ["a", "b"], "file": ["a.npy", "b.npy"], "ra": [1.5, 2.5], "n": [1, 2]})
    with TemporaryDirectory() as folder:
        path = Path(folder, f"t{ending}" if ending.startswith(".") else "t")
        if ending == "feather":
            feather.write_feather(pa.table({"file": ["a.npy"], "ra": [1.0]}), path)
        elif ending == "hdf5":
            rows["ra", "n"].write(path, format="hdf5", path="t")
        elif ending == "ipac":
            rows.write(path, format="ascii.ipac")
        elif ending == "sextractor":
            path.write_text("#   1 NUMBER  Running number\n#   2 ALPHA_J2000  Position  [deg]\n 1 2.5\n 2 3.5\n")
        elif ending == "zip":
            path.write_bytes(b"PK\x03\x04" + bytes(100))
        elif ending == ".out":
            rows = Table({f"p_{name}": [0.2, 0.3] for name in ("oval", "rectangular", "obround")})
            write_table(rows, path)
        else:
            write_table(rows, path)
        return path.read_bytes()


def fits_data(content):
    """Where the data of the last unit of a FITS file begin: after the first END behind the last header's beginning."""
    begin = max(content.rfind(b"XTENSION="), 0)
    return (content.index(b"END" + b" " * 77, begin) // 2880 + 1) * 2880


def on_the_sky():
    """An image with a WCS, with the polynomials of SIP."""
    unit = fits.PrimaryHDU(pixels(1)[0], tan_wcs((SIDE, SIDE)).to_header())
    unit.header["CTYPE1"], unit.header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    unit.header.update({"WCSAXES": 2, "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": 1e-6, "AP_ORDER": 1})
    return fits_bytes(unit)


def of_fits(name, content, rows=1):
    return Sample(name, content, fits_data(content), rows)


CUBE = partial(fits_bytes, pixels())
IMAGES: dict[str, Callable[[], Sample]] = {
    "fits": lambda: of_fits("x.fits", fits_bytes(pixels(1)[0])),
    "fits cube": lambda: of_fits("x.fits", CUBE(), PLANES),
    "fits on the sky": lambda: of_fits("x.fits", on_the_sky()),
    "fits with maps": lambda: of_fits(
        "x.fits", fits_bytes(fits.PrimaryHDU(), fits.ImageHDU(pixels(1)[0], name="SCI"),
                             fits.ImageHDU(pixels(1, "i2")[0] % 2, name="DQ"))),
    **{f"fits {kind}": partial(lambda kind: of_fits("x.fits.fz", packed(kind), PLANES), kind)
       for kind in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")},
    **{f"fits packed {opened.__module__}": partial(lambda opened: Sample("x.fits.gz", squeezed(opened, CUBE())), opened)
       for opened in UNPACKERS.values()},
    "png": lambda: Sample("x.png", picture("PNG")),
    "jpeg": lambda: Sample("x.jpg", picture("JPEG")),
    "gif": lambda: Sample("x.gif", picture("GIF")),
    "bmp": lambda: Sample("x.bmp", picture("BMP")),
    "webp": lambda: Sample("x.webp", picture("WEBP")),
    "tiff": lambda: Sample("x.tif", tiff()),
    "tiff packed": lambda: Sample("x.tif", tiff(compression="zlib")),
    "npy": lambda: Sample("x.npy", npy_bytes(pixels()), 128, PLANES),
    "hdf5": lambda: Sample("x.h5", hdf5()),
    "parquet": lambda: Sample("x.parquet", parquet()),
    "votable": lambda: Sample("x.vot", table(".vot")),
    "": lambda: Sample("x.dat", text_map()),
}  # fmt: skip
FOREIGN_TABLES = ("feather", "hdf5", "zip", "sextractor", "ipac")  # read, but not written
TABLES = {f"table {name}": partial(lambda name: Sample(f"t{name if name.startswith('.') else ''}", table(name)), name)
          for name in (*ENDINGS, *FOREIGN_TABLES) if name != ".vot.xml"}  # fmt: skip


def snapshot(n=30):
    """Particles of all kinds."""
    rng = np.random.default_rng(2)
    component = np.arange(n, dtype=np.int8) % len(COMPONENTS)
    return Snapshot(
        position=rng.normal(size=(n, 3)).astype("f4"), velocity=rng.normal(0, 90, (n, 3)).astype("f4"),
        mass=rng.uniform(1e5, 1e6, n).astype("f4"), component=component, galaxy=component % np.int8(2),
        time_gyr=1.25, about={"orbit": [1.0, 2.0], "name": "merger"},
    )  # fmt: skip


def own_snapshot():
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return write_snapshot(snapshot(), Path(folder, "s.hdf5")).read_bytes()


def gadget_snapshot():
    """HDF5 as GADGET and AREPO write it, without checksums."""
    made, file = snapshot(), io.BytesIO()
    with h5py.File(file, "w") as target:
        header = {"Time": 0.5, "Redshift": 1.0, "HubbleParam": 0.7, "Omega0": 0.3, "OmegaLambda": 0.7, "BoxSize": 5e4}
        target.create_group("Header").attrs.update(header | {"MassTable": np.zeros(6), "NumFilesPerSnapshot": 1})
        for part in (0, 1, 4):
            group = target.create_group(f"PartType{part}")
            group["Coordinates"], group["Velocities"], group["Masses"] = made.position, made.velocity, made.mass
        group.create_dataset("StellarFormationTime", data=np.full(len(made), 0.2), compression="gzip")
    return file.getvalue()


def binary_snapshot(number, order="<"):
    """GADGET's binary format 1 or 2."""
    made, counts = snapshot(), [6, 12, 6, 0, 6, 0]

    def record(content):
        return struct.pack(f"{order}i", len(content)) + content + struct.pack(f"{order}i", len(content))

    header = struct.pack(f"{order}6i6d2d2i6i2i4d", *counts, *[0.0] * 6, 1.5, 0, 0, 0, *counts, 0, 1, 0, 0, 0, 1)
    blocks = {"HEAD": header.ljust(256, b"\0")}
    arrays = {"POS ": made.position, "VEL ": made.velocity, "ID  ": np.arange(30, dtype="i4"), "MASS": made.mass}
    blocks |= {name: array.astype(array.dtype.newbyteorder(order)).tobytes() for name, array in arrays.items()}
    blocks |= {"AGE ": np.zeros(6, order + "f4").tobytes()} if number == 2 else {}
    return b"".join(
        (record(name.encode() + struct.pack(f"{order}i", len(content) + 8)) if number == 2 else b"") + record(content)
        for name, content in blocks.items()
    )


SNAPSHOTS: dict[str, Callable[[], Sample]] = {
    "snapshot of ours": lambda: Sample(OWN, own_snapshot()),
    "snapshot of others": lambda: Sample("s.hdf5", gadget_snapshot()),
    "snapshot binary": lambda: Sample("snapshot_001", binary_snapshot(1)),
    "snapshot binary with labels": lambda: Sample("snapshot_001", binary_snapshot(2, ">")),
}


def psf_image():
    """A PSF that is sampled twice as finely as its image."""
    y, x = np.mgrid[:15, :15] - 7
    unit = fits.PrimaryHDU(np.exp(-(x**2 + y**2) / 8).astype("f4"))
    unit.header["PSF_SAMP"] = 0.5
    return fits_bytes(unit)


def psfex_model():
    """A model of PSFEx that changes with the place."""
    y, x = np.mgrid[:9, :9] - 4
    parts = np.stack([np.exp(-(x**2 + y**2) / 4), x * 1e-4, y * 1e-4]).astype("f4")
    unit = fits.BinTableHDU(Table({"PSF_MASK": parts[None]}), name="PSF_DATA")
    unit.header.update({"POLNAXIS": 2, "POLDEG1": 1, "POLZERO1": 5.0, "POLZERO2": 5.0, "POLSCAL1": 9.0,
                        "POLSCAL2": 9.0, "PSF_SAMP": 0.5})  # fmt: skip
    return fits_bytes(fits.PrimaryHDU(), unit)


def sdss_field():
    """The PSF of a field of SDSS, of one band."""
    y, x = np.mgrid[:31, :31] - 15
    rows = Table({"RROWS": [np.exp(-(x**2 + y**2) / 8).ravel().astype("f4")], "RNROW": [31], "RNCOL": [31],
                  "NROW_B": [2], "NCOL_B": [2], "C": [np.array([[1.0, 0.1], [0.1, 0.0]], "f4")]})  # fmt: skip
    return fits_bytes(fits.PrimaryHDU(), fits.BinTableHDU(rows))


def answer(fields, row):
    """A VOTable as services send it."""
    cells = "".join(f"<TD>{value}</TD>" for value in row)
    return (
        f'<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}'
        f"<DATA><TABLEDATA><TR>{cells}</TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


def text_field(name):
    return f'<FIELD name="{name}" datatype="char" arraysize="*"/>'


def of_images(form):
    """An answer that names one image, or links to it."""
    fields = "".join(map(text_field, ("access_url", "access_format"))) + '<FIELD name="s_ra" datatype="double"/>'
    return answer(fields + '<FIELD name="s_dec" datatype="double"/>', ("http://127.0.0.1/x", form, 1.5, 2.5))


IMAGES_ANSWER = of_images("image/fits")
LINKS_ANSWER = answer(
    "".join(map(text_field, ("ID", "access_url", "service_def", "semantics"))),
    ("a", "http://127.0.0.1/x", "", "#this"),
)


@cache
def verdicts():
    """A log of verdicts."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        log = Verdicts(Path(folder, "v.sqlite"))
        log.add([Entry(key=f"k000000{k}", time=now(), reviewer="Ann", id=f"g{k}", what="verdict", value="oval")
                 for k in range(5)])  # fmt: skip
        log._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log.close()
        return Path(folder, "v.sqlite").read_bytes()


def of_network(name):
    return Sample(name, (SHIPPED / "screener" / name).read_bytes())


# What else is read that somebody else may have made, each with a function that reads it and returns nothing.
OTHERS: dict[str, Callable[[], Sample]] = {
    "psf": lambda: Sample("x.fits", psf_image()),
    "psf of psfex": lambda: Sample("x.psf", psfex_model()),
    "psf of a field": lambda: Sample("x.fits", sdss_field()),
    "answer of images": lambda: Sample("images.vot", IMAGES_ANSWER),
    "answer of links": lambda: Sample("links.vot", LINKS_ANSWER),
    "verdicts": lambda: Sample("v.sqlite", verdicts()),
    **{f"network {name}": partial(of_network, name) for name in NETWORK_FILES},
}
SAMPLES = IMAGES | TABLES | SNAPSHOTS | OTHERS
assert {name.partition(" ")[0] for name in IMAGES} == {*KINDS, ""}, "a format has no sample"


def squeezed(opened, content):
    """What a packer of the standard library makes of some bytes."""
    file = io.BytesIO()
    with opened(file, "wb") as target:
        target.write(content)
    return file.getvalue()


def variants(name: str) -> int:
    """How many samples there are of the format of a sample."""
    return sum(_form(other) == _form(name) for other in SAMPLES)


def _form(name: str) -> str:
    if name.endswith(("_1", "_2")):
        return "fits in tiles"
    if name.startswith(("snapshot", "psf", "answer", "network")):
        return name.partition(" ")[0]
    return name if name.startswith("table") else "fits packed" if "fits packed" in name else name.partition(" ")[0]


# --- damage

Damage = tuple[str, int, int]  # what is done, where (of 10^6 parts of the file), and with which number
KINDS_OF_DAMAGE = ("byte", "bit", "zeros", "cut", "add", "number", "repeat")
NUMBERS = (0, 1, 2, 3, 5, 9, 64, 255, 256, 65535, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**62, -1, -64)


def damaged(sample: Sample, damages: list[Damage], *, only_data: bool = False) -> bytes:
    """The content of a file with damages; of its data alone its length stays the same."""
    content = bytearray(sample.content)
    begin = sample.data if only_data else 0
    for kind, place, value in damages:
        at = begin + place * max(len(content) - begin - 1, 0) // 10**6
        if only_data and kind in ("cut", "add", "number", "repeat"):
            kind = "byte"
        if not content:
            break
        if kind == "byte":
            content[at] = value % 256
        elif kind == "bit":
            content[at] ^= 1 << value % 8
        elif kind == "zeros":
            content[at : at + 16] = bytes(len(content[at : at + 16]))
        elif kind == "cut":
            del content[at:]
        elif kind == "add":
            content[at:at] = bytes([value % 256]) * (1 + value % 3000)
        elif kind == "repeat":
            content[at:at] = content[at : at + 64]
        else:
            content = _with_number(content, place, NUMBERS[value % len(NUMBERS)])
    return bytes(content)


def _with_number(content: bytearray, place: int, number: int) -> bytearray:
    """One of the numbers of a header in text replaced by another, or else of 4 bytes."""
    found = list(re.finditer(rb"(?<=[=(,\s\"])-?\d+(?=[\s,)/\"])", bytes(content[:9000])))
    if found:
        match = found[place % len(found)]
        text = str(number).encode().rjust(match.end() - match.start())
        in_card = content[max(match.start() - 12, 0) : match.start()].isspace()  # of FITS, whose columns stay
        start = match.end() - len(text) if in_card else match.start()
        return content[:start] + text + content[match.end() :]
    at = place % max(min(len(content), 400), 1)
    content[at : at + 4] = (number % 2**32).to_bytes(4, "little" if place % 2 else "big")
    return content


# --- what must hold


def check_images(sample: Sample, content: bytes, folder: Path, *, only_data: bool = False) -> int:
    """Reads a damaged file: rows with pixels or with a flag and a sentence, as many as there should be; how many."""
    path = folder / sample.name
    path.write_bytes(content)
    begun = time.monotonic()
    number = 0
    try:
        for chunk in open_images(path).chunks():
            number += len(chunk)
            check_rows(chunk)
    except EmeraldcutError as error:  # of the source as a whole, before it has a row
        said = str(error)
    else:
        said = ""
    assert (number >= 1) != said.endswith("."), said
    assert time.monotonic() - begun < LONGEST_S, "it hangs"
    if only_data and sample.data:
        assert number == sample.rows, f"{number} rows of {sample.rows}"
    return number


def check_rows(chunk: ImageSet) -> None:
    """Each row of a chunk has pixels, or a flag and the sentence of it."""
    for image, row in zip(chunk.pixels, chunk.table, strict=True):
        flag, text = int(row["flag"]), str(row["flag_text"])
        said = [sentence for bit, sentence in SENTENCES.items() if flag & bit]
        assert all(sentence in text for sentence in said) and bool(text) == bool(flag)
        assert image.dtype == np.float32 and image.ndim == 2 and len(text) < 2000
        assert not usable(flag) or np.isfinite(image).any()


def check_table(sample: Sample, content: bytes, folder: Path) -> int:
    """Reads a damaged table: it is one, or one sentence says why not."""
    path = folder / sample.name
    path.write_bytes(content)
    begun = time.monotonic()
    try:
        number = len(read_table(path))
    except EmeraldcutError:
        number = 0
    assert time.monotonic() - begun < LONGEST_S, "it hangs"
    return number


def check_snapshot(sample: Sample, content: bytes, folder: Path) -> int:
    """Reads a damaged snapshot: it is one, or one sentence says why not; ours is as it was, or a sentence says so."""
    path = folder / sample.name
    path.write_bytes(content)
    begun = time.monotonic()
    number, said = 0, ""
    try:
        found = read_snapshot(path)
        number = len(found)
    except EmeraldcutError as error:
        said = str(error)
    assert bool(number) != (said.endswith(".") and str(path) in said), said
    if number and sample.name == OWN:
        for field in dataclasses.fields(Snapshot):
            np.testing.assert_equal(getattr(found, field.name), getattr(snapshot(), field.name))
    assert time.monotonic() - begun < LONGEST_S, "it hangs"
    return number


def check_other(sample: Sample, content: bytes, folder: Path) -> int:
    """Reads something else that is damaged: it is as it should be, or one sentence says why not."""
    begun, said = time.monotonic(), "it can be read"
    try:
        read_other(sample, content, folder)
    except (EmeraldcutError, BadImage) as error:
        said = str(error).strip()
    assert said, "no sentence"
    assert time.monotonic() - begun < LONGEST_S, "it hangs"
    return 1


def read_other(sample: Sample, content: bytes, folder: Path) -> None:
    """Reads one of `OTHERS`."""
    path = folder / sample.name
    if sample.name in NETWORK_FILES:
        _read_network(sample, content, folder / "network")
    elif sample.name == "images.vot":
        sia.image_at("sia2:http://127.0.0.1/sia", None, 1.0, 2.0, 0.1, lambda url, most: content)
    elif sample.name == "links.vot":
        answers = iter([of_images(f"application/x-votable+xml;{sia.DATALINK}")])
        sia.image_at("sia2:http://127.0.0.1/sia", None, 1.0, 2.0, 0.1, lambda url, most: next(answers, content))
    elif sample.name.endswith(".sqlite"):
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        path.write_bytes(content)
        log = Verdicts(path)
        log.said("verdict", "Ann")
        log.close()
    else:
        path.write_bytes(content)
        psf = read_psf(path, "r")
        assert max(psf.at(7.0, 7.0).shape) <= LARGEST_SIDE_PIX and usable_image(psf.everywhere[0])


def _read_network(sample: Sample, content: bytes, folder: Path) -> None:
    """A copy of the shipped network of which one file is damaged."""
    if not folder.exists():
        shutil.copytree(SHIPPED / "screener", folder)
    (folder / sample.name).write_bytes(content)
    network = load_network(folder)
    read_rankings.cache_clear()
    try:
        assert read_rankings(folder) is not None
    finally:
        if sum(content) % 100 == 0:  # putting it together takes long
            network.predictor(np.zeros((1, *network.layers[0].parameters["batch_shape"][1:]), "f4"), np.ones(1, bool))


def check(name: str, sample: Sample, content: bytes, folder: Path, *, only_data: bool = False) -> int:
    """Reads a damaged file of the format of a sample; AssertionError where it ends otherwise than it should."""
    if name in IMAGES:
        return check_images(sample, content, folder, only_data=only_data)
    checked = check_table if name in TABLES else check_snapshot if name in SNAPSHOTS else check_other
    return checked(sample, content, folder)


IN_FOLDERS = [name for name in IMAGES if name.partition(" ")[0] not in ("hdf5", "parquet", "votable", "")]


def check_folder(sample: Sample, contents: list[bytes], folder: Path, only_data: list[bool]) -> None:
    """The same of many image files together: each has rows, and those are as they should be."""
    ending = sample.name.partition(".")[2]
    found = Counter[str]()
    for k, content in enumerate(contents):
        (folder / f"{k:04}.{ending}").write_bytes(content)
    begun = time.monotonic()
    for chunk in open_images(folder).chunks():
        check_rows(chunk)
        found.update(Path(str(name)).name for name in chunk.table["file"])
    assert time.monotonic() - begun < LONGEST_S * len(contents), "it hangs"
    for k, whole in enumerate(only_data):
        number = found[f"{k:04}.{ending}"]
        assert number == sample.rows if whole and sample.data else number >= 1, f"{number} rows of file {k}"


class StoredSample:
    """A set of ours whose file of pixels is damaged: as many rows, each as it was or flagged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "set"
        table = Table({"id": [f"g{k}" for k in range(PLANES)]})
        write_images(ImageSet(pixels(), table), self.folder, command="test")
        self.sample = Sample("images.h5", (self.folder / "images.h5").read_bytes(), 0, PLANES)

    def check(self, content: bytes) -> int:
        """Rows that are read as they were."""
        (self.folder / "images.h5").write_bytes(content)
        chunks = list(open_images(self.folder).chunks())
        assert sum(map(len, chunks)) == PLANES
        good = 0
        for chunk in chunks:
            check_rows(chunk)
            for image, row in zip(chunk.pixels, chunk.table, strict=True):
                if not row["flag"]:
                    np.testing.assert_array_equal(image, pixels()[int(str(row["id"])[1:])])
                    good += 1
        return good
