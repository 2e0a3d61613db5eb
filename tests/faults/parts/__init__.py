"""What the fault tests are made of, beside the harness of the end-to-end tests."""
