"""How many chunks a call of a child decodes: few large pages, many small ones."""

from indexer.pipeline.jobs import GROUP, GROUP_PIXELS, PAGES_MOST, group_of


def test_small_pages_come_in_larger_groups_and_large_ones_in_none_smaller() -> None:
    assert group_of("pdf", 1280) == group_of("pdf", 4000) == GROUP["pdf"]
    sizes = [group_of("pdf", side) for side in range(200, 1300, 100)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == PAGES_MOST
    assert all(group_of("pdf", side) * side**2 <= GROUP_PIXELS for side in range(200, 1281, 20))
    assert group_of("video", 320) == GROUP["video"] and group_of("image", 320) == GROUP["image"]
