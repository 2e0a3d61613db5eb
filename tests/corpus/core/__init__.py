"""The wire, the recording upstream and the judge."""
