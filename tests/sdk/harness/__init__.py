"""What the tests with Microsoft's libraries are made of."""
