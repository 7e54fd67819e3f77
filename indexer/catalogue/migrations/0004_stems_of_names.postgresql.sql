-- Words of names by their English stems: `catalogue.py` names all files anew when it finds them nameless.
DELETE FROM names;
