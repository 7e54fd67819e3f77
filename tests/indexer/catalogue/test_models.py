"""The models of a library: the old one answers until the new one is whole."""

from indexer.catalogue.catalogue import Catalogue
from tests.indexer.catalogue.conftest import VECTOR, index, put


def test_the_old_model_answers_until_the_new_one_is_promoted(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    (chunk_id,) = index(catalogue, b"a" * 32)
    new = catalogue.models.add("n", 4)
    held = catalogue.models.answering()
    assert (new.state, held.name if held else None) == ("building", "m")
    assert [w.hash for w in catalogue.queue.waiting("embed", 9, model_id=new.id)] == [b"a" * 32]
    catalogue.contents.add_embeddings(new.id, [chunk_id, 9999], [VECTOR, VECTOR])
    assert catalogue.queue.waiting("embed", 9, model_id=new.id) == [] and catalogue.models.lacking(new.id) == 0
    catalogue.models.promote(new.id)
    assert [(m.name, m.state) for m in catalogue.models.all()] == [("m", "old"), ("n", "answering")]
    assert catalogue.models.drop_previous() and [m.name for m in catalogue.models.all()] == ["n"]


def test_the_model_of_the_last_switch_stays_and_no_other(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    (chunk_id,) = index(catalogue, b"a" * 32)
    for name in ("n", "o"):
        new = catalogue.models.add(name, 4)
        catalogue.contents.add_embeddings(new.id, [chunk_id], [VECTOR])
        catalogue.models.promote(new.id)
    assert [m.name for m in catalogue.models.all()] == ["n", "o"]
    old, until = catalogue.models.previous() or (None, 0.0)
    assert old is not None and old.name == "n" and catalogue.models.lacking(old.id) == 0
    catalogue.models.add("p", 4)
    answering = catalogue.models.answering()
    assert answering is not None
    catalogue.models.promote(answering.id)  # the switch to "p" is given up
    assert [m.name for m in catalogue.models.all()] == ["n", "o"]
    assert not catalogue.models.drop_previous(until - 1) and catalogue.models.drop_previous(until + 1)
    assert catalogue.models.previous() is None and [m.name for m in catalogue.models.all()] == ["o"]
