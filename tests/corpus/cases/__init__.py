"""The corpora, a file or several per class. Each module has `CASES`."""
