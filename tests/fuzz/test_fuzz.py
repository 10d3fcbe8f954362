"""A short run of `make fuzz`, with input that is the same each time."""

from collections.abc import Iterator

import pytest

from tests.fuzz.checks import Puppet, both_ways, puppet
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.requests import pipelines
from tests.fuzz.writings import writings
from tests.support.models import SavedModels
from tests.support.registry import Registry

pytestmark = pytest.mark.faults

SEED = 1


def test_both_ways_answer_the_same_to_random_pipelines(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    with both_ways(tmp_path_factory.mktemp("ways"), registry, saved) as ways:
        fuzz(ways.check, pipelines(), SEED, seconds=6)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Puppet]:
    """A server whose model writes to it what it is told to."""
    with puppet(tmp_path_factory.mktemp("puppet"), registry, saved) as model:
        yield model


def test_what_a_worker_writes_beside_its_answer_costs_a_worker_at_most(model: Puppet) -> None:
    fuzz(model.check_predicting, writings(), SEED, seconds=2)


def test_what_a_worker_writes_in_place_of_its_answer_costs_a_worker_at_most(model: Puppet) -> None:
    fuzz(model.check_answering, writings(), SEED, seconds=2)


def test_what_a_version_writes_while_it_loads_costs_that_version_at_most(model: Puppet) -> None:
    fuzz(model.check_loading, writings(), SEED, seconds=2)
