-- The PDFs inside a PDF: JSON [[name, the page at which it begins], …]; NULL without any.
ALTER TABLE content ADD COLUMN parts TEXT;
