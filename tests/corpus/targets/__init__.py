"""What is put to the test: scoregate, the peers, and a plain byte relay that has no defence at all."""
