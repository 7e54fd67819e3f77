"""Search: a query to hits, by meaning and by words, within filters."""
