"""Damaged bytes, sizes and headers of every format that is read: no crash, no hang, no missing row."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emeraldcut.runs import apart
from tests import fuzzing

EXAMPLES = 500
DAMAGES = st.lists(
    st.tuples(st.sampled_from(fuzzing.KINDS_OF_DAMAGE), st.integers(0, 10**6), st.integers(0, 2999)),
    min_size=1,
    max_size=6,
)


def many(variants: int = 1):
    """That many examples of a format, of which so many variants are tested."""
    checks = list(HealthCheck)
    return settings(
        max_examples=EXAMPLES // variants, deadline=None, database=None, suppress_health_check=checks, derandomize=True
    )


# Of files that astropy cannot open it closes none.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "SLOWEST_S", 2)  # some damages make the decompressor of HCOMPRESS loop for ever
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.IMAGES)
def test_damaged_images_are_rows(name, folder):
    sample = fuzzing.IMAGES[name]()
    assert fuzzing.check_images(sample, sample.content, folder) >= sample.rows

    @many(fuzzing.variants(name))
    @given(DAMAGES, st.booleans())
    def check(damages, only_data):
        only_data = only_data and bool(sample.data)
        fuzzing.check_images(sample, fuzzing.damaged(sample, damages, only_data=only_data), folder, only_data=only_data)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.TABLES)
def test_damaged_tables_are_tables_or_a_sentence(name, folder):
    sample = fuzzing.TABLES[name]()

    @many()
    @given(DAMAGES)
    def check(damages):
        fuzzing.check_table(sample, fuzzing.damaged(sample, damages), folder)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.SNAPSHOTS)
def test_damaged_snapshots_are_snapshots_or_a_sentence(name, folder):
    sample = fuzzing.SNAPSHOTS[name]()
    assert fuzzing.check_snapshot(sample, sample.content, folder) >= len(fuzzing.snapshot())

    @many(fuzzing.variants(name))
    @given(DAMAGES)
    def check(damages):
        fuzzing.check_snapshot(sample, fuzzing.damaged(sample, damages), folder)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.OTHERS)
def test_what_else_is_damaged_is_a_sentence(name, folder):
    sample = fuzzing.OTHERS[name]()
    fuzzing.read_other(sample, sample.content, folder)

    @many(fuzzing.variants(name))
    @given(DAMAGES)
    def check(damages):
        fuzzing.check_other(sample, fuzzing.damaged(sample, damages), folder)

    check()


@pytest.mark.slow
def test_a_damaged_set_of_ours_never_gives_other_pixels(folder):
    stored = fuzzing.StoredSample(folder)
    assert stored.check(stored.sample.content) == fuzzing.PLANES

    @many()
    @given(DAMAGES)
    def check(damages):
        stored.check(fuzzing.damaged(stored.sample, damages))

    check()
