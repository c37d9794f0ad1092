"""The published site: a first page and a page per chapter, for offline use."""
