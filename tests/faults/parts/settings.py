"""The usual configuration of the fault tests: short time-outs, one endpoint that is at fault, and one that is well."""

# Short enough to be waited for, long enough for a busy machine.
SHORT = {
    "tls_handshake": "1s", "request_head": "1s", "idle": "20s", "connect": "1s", "response_head": "2s", "request": "4s", "stall": "1s",
    "stream_idle": "2s", "lame_duck": "0s",
}


def two_endpoints(config, faulty, well, listeners=None, **more):
    """`/faulty` and `/well`, for one caller; `more` is of the endpoint at fault."""
    settings = config(well)
    primary = settings["endpoints"]["model"]["keys"]
    settings["endpoints"] = {
        "faulty": {"upstreams": [faulty], "keys": primary} | more,
        "well": {"upstreams": [well], "keys": primary},
    }
    settings["routes"] = [
        {"match": {"path_prefix": f"/{name}"}, "rewrite": {"path_prefix": "/"}, "callers": ["team"], "endpoint": name}
        for name in ("faulty", "well")
    ]
    settings["timeouts"] = dict(SHORT)
    if listeners:
        settings["listeners"] = listeners
    return settings
