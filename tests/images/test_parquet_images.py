"""Images in Parquet, laid out as Hugging Face's `datasets` and the Multimodal Universe write them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emeraldcut.data import Flag
from emeraldcut.images import open_images, read_images
from tests.helpers import png_bytes

N, SIDE = 5, 24
RNG = np.random.default_rng(1)
BANDS = RNG.normal(10, 2, (N, 3, SIDE, SIDE)).astype(np.float32)


def band(values, ivar=0.25, **more):
    weights = np.full(values.shape, ivar, np.float32)
    weights[0, 0] = 0
    return {"band": "des-r", "array": values.tolist(), "ivar": weights.tolist(), "psf_fwhm": 1.2, "scale": 0.3, **more}


def lists_of(structs):
    """As `datasets.Sequence` of a dict is stored: a struct of lists."""
    return {name: [s[name] for s in structs] for name in structs[0]}


@pytest.mark.parametrize("lay", [list, lists_of], ids=["list of structs", "struct of lists"])
def test_bands_of_the_multimodal_universe(tmp_path, lay):
    rows = [lay([band(values, mask=np.ones((SIDE, SIDE), bool).tolist()) for values in BANDS[i]]) for i in range(N)]
    table = pa.table({"image": rows, "ra": np.arange(N) + 0.5, "object_id": [f"o{i}" for i in range(N)],
                      "score": np.arange(N), "catalog": [{"FLUX": [1.0]}] * N})  # fmt: skip
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=2)
    source = open_images(tmp_path / "train.parquet")
    assert source.n_images == N
    (images,) = source.chunks()
    assert list(images.table["id"]) == [f"o{i}" for i in range(N)] and not images.table["flag"].any()
    assert list(images.table["ra"]) == list(np.arange(N) + 0.5) and list(images.table["input_score"]) == list(range(N))
    mean = BANDS.mean(axis=1)
    assert np.isnan(images.pixels[:, 0, 0]).all() and np.isnan(images.pixels).sum() == N
    np.testing.assert_allclose(images.pixels[:, 1:], mean[:, 1:], rtol=1e-5)
    np.testing.assert_allclose(images.table["noise_sigma"], 2 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(images.table["psf_fwhm_pix"], 4, rtol=1e-6)
    np.testing.assert_allclose(images.table["pixel_scale_arcsec"], 0.3, rtol=1e-6)


def test_files_in_a_column(tmp_path):
    grey = RNG.integers(0, 255, (N, SIDE, SIDE), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=-1)
    rows = [{"bytes": png_bytes(colour[i]), "path": None} for i in range(N)]
    rows[2], rows[3] = {"bytes": b"garbage", "path": None}, None
    for name, part in (("a", slice(0, 2)), ("b", slice(2, N))):
        pq.write_table(pa.table({"image": rows[part], "label": np.arange(N)[part]}), tmp_path / f"{name}.parquet")
    images = read_images(tmp_path)
    assert list(images.table["id"]) == ["a#0", "a#1", "b#0", "b#1", "b#2"]
    assert list(images.table["flag"]) == [0, 0, Flag.UNREADABLE, Flag.UNREADABLE, 0]
    assert list(images.table["label"]) == [str(i) for i in range(N)]
    for i in (0, 1, 4):
        np.testing.assert_allclose(images.pixels[i], grey[i], atol=1e-3)


def test_tables_without_images_are_tables(tmp_path):
    np.save(tmp_path / "one.npy", BANDS[0, 0])
    pq.write_table(pa.table({"file": ["one.npy"], "more": [{"a": 1}]}), tmp_path / "list.parquet")
    np.testing.assert_array_equal(read_images(tmp_path / "list.parquet").pixels[0], BANDS[0, 0])
