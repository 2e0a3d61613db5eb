"""The measurements: each module has `ROWS`, from a row's name to what measures it."""
