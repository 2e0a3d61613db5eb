"""What RFC 9110, 9112 and 9113 demand of whoever takes requests and sends them on: each section is named by a case at least."""

# Sections with a MUST for a server or an intermediary, without those that bind caches, origin servers and clients alone.
DEMANDS = {
    "RFC 9110": {
        "2.5": "versions of one major number", "4.2.4": "user names in targets", "5.1": "names of fields",
        "5.3": "the order of fields",
        "5.4": "limits on fields", "5.5": "values of fields", "5.6.1": "lists", "6.5": "trailers",
        "6.5.1": "what may not be a trailer",
        "6.6.1": "Date", "7.2": "Host", "7.4": "requests that are misdirected", "7.6.1": "Connection",
        "7.6.2": "Max-Forwards", "7.6.3": "Via",
        "7.7": "content goes on as it is", "7.8": "Upgrade", "8.6": "Content-Length", "9.1": "methods",
        "9.2.2": "what may be sent again",
        "9.3.2": "HEAD", "9.3.6": "CONNECT", "9.3.8": "TRACE", "10.1.1": "Expect", "10.1.4": "TE",
        "11.6.1": "WWW-Authenticate",
        "11.7.1": "Proxy-Authenticate", "13.1.1": "conditions go on", "14.2": "ranges go on",
        "15.2": "informational answers",
        "15.2.2": "101", "15.3.5": "204", "15.4.5": "304", "15.5.2": "401", "15.5.6": "405", "15.5.14": "413",
        "15.6.5": "504",
    },
    "RFC 9112": {
        "2.2": "lines and their ends", "2.3": "the version is our own", "3": "request lines",
        "3.2": "targets and Host", "3.2.1": "origin form",
        "3.2.2": "absolute form", "3.2.3": "authority form", "3.2.4": "asterisk form", "4": "status lines",
        "5": "syntax of fields",
        "5.1": "no space before the colon", "5.2": "folded lines", "6.1": "Transfer-Encoding",
        "6.2": "Content-Length", "6.3": "the body's length",
        "7.1": "chunks", "7.1.1": "their extensions", "7.1.2": "the trailer section",
        "8": "messages that are cut off", "9.2": "answers in order",
        "9.3": "connections that are kept", "9.3.2": "pipelining", "9.5": "time-outs",
        "9.6": "how a connection is ended",
        "9.8": "how TLS is ended",
    },
    "RFC 9113": {
        "3.1": "names of the protocol", "3.2": "HTTP/2 over TLS", "3.3": "prior knowledge", "3.4": "the preface",
        "4.1": "the frame's header", "4.2": "sizes of frames",
        "4.3": "compression of fields", "5.1": "states of a stream", "5.1.1": "numbers of streams",
        "5.1.2": "how many streams", "5.4.2": "errors of a stream",
        "5.5": "what nobody knows", "6.1": "DATA", "6.2": "HEADERS", "6.3": "PRIORITY", "6.4": "RST_STREAM",
        "6.5": "SETTINGS", "6.5.2": "values of settings",
        "6.5.3": "settings are acknowledged", "6.7": "PING", "6.8": "GOAWAY", "6.9": "WINDOW_UPDATE",
        "6.9.1": "the window",
        "6.9.2": "the first window", "6.10": "CONTINUATION", "8.1": "order of frames", "8.1.1": "malformed messages",
        "8.2.1": "what a field may contain",
        "8.2.2": "fields of connections", "8.2.3": "cookies in pieces", "8.3": "pseudo-headers",
        "8.3.1": "of requests", "8.3.2": "of answers", "8.4": "PUSH_PROMISE",
        "8.5": "CONNECT", "10.3": "what HTTP/1.1 would read otherwise", "10.5": "work without end",
    },
}


def unnamed(cases):
    """Sections that no case names."""
    named = {case.section for case in cases}
    demanded = {f"{rfc} {section}": what for rfc, sections in DEMANDS.items() for section, what in sections.items()}
    return [f"{section} ({what})" for section, what in demanded.items() if section not in named]
