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
    assert [m.name for m in catalogue.models.all()] == ["n"]
