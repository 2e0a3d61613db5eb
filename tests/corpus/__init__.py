"""Attack corpora: what a hostile or broken peer sends, and what a gate must make of it.

Every case sends bytes or frames of its own over raw sockets and is judged from both sides: by what its client got, and by every
byte that a recording upstream saw. `core` has the wire and the judge, `cases` the corpora, `targets` what is put to the test.
"""
