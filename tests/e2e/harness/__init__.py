"""What the end-to-end tests are made of: the gate, services behind it, clients before it."""
