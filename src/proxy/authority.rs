//! Which host a request is for: exactly one, valid, and the same wherever the request says it (RFC 9112 section 3.2).

use super::{headers::survey::One, reject::Reject};

/// The host of a request, as it was written, without its port. `target` is the authority of the request target: absolute-form in
/// HTTP/1.1, `:authority` in HTTP/2.
///
/// # Errors
/// `bad_request` where there is none, where there are two, where one is not valid, or where two places disagree.
pub fn host_of<'h>(target: Option<&'h str>, hosts: One<'h>) -> Result<&'h str, Reject> {
    let field = hosts.single(Reject::BadRequest("the request has more than one host header"))?;
    let field = field.map(|value| std::str::from_utf8(value).map_err(|_not_text| INVALID)).transpose()?;
    let authority = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => {
            return Err(Reject::BadRequest("the host header differs from the request target"));
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(Reject::BadRequest("the request has no host")),
    };
    host_without_port(authority).ok_or(INVALID)
}

const INVALID: Reject = Reject::BadRequest("the request's host is not valid");

/// Splits `host[:port]`, refusing what RFC 3986 section 3.2.2 does not allow; brackets of an IPv6 address are taken off.
fn host_without_port(authority: &str) -> Option<&str> {
    if authority.len() > 255 + 6 {
        return None;
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address_ok =
            address.len() >= 2 && address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        if !address_ok {
            return None;
        }
        (address, after)
    } else {
        let end = memchr::memchr(b':', authority.as_bytes()).unwrap_or(authority.len());
        let (name, after) = authority.split_at_checked(end)?;
        // With its dot at the end it is the same name (RFC 1034 section 3.1): no way around a rule for it.
        let name = name.strip_suffix('.').unwrap_or(name);
        let label_ok = |label: &[u8]| {
            !label.is_empty() && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~'))
        };
        if !name.as_bytes().split(|b| *b == b'.').all(label_ok) {
            return None;
        }
        (name, after)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some(host),
        Some(digits)
            if digits.len() <= 5
                && digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u32>().unwrap_or(0) <= 65_535 =>
        {
            Some(host)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Uri, header};

    use super::*;
    use crate::proxy::{head::Fields, headers::survey::Survey};

    fn host(uri: &str, hosts: &[&str]) -> Result<String, &'static str> {
        let uri: Uri = uri.parse().expect("uri");
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).expect("value"));
        }
        let target = uri.authority().map(http::uri::Authority::as_str);
        host_of(target, Survey::of(&Fields::from(headers)).host).map(ToOwned::to_owned).map_err(Reject::message)
    }

    #[test]
    fn one_valid_host_is_taken() {
        assert_eq!(host("/", &["example.com"]), Ok("example.com".into()));
        assert_eq!(host("/", &["example.com:8443"]), Ok("example.com".into()));
        assert_eq!(host("/", &["[::1]:80"]), Ok("::1".into()));
        assert_eq!(host("/", &["a:"]), Ok("a".into()), "RFC 3986 section 3.2.3 allows an empty port");
        assert_eq!(host("/", &["127.0.0.1"]), Ok("127.0.0.1".into()));
        assert_eq!(host("/", &["a.b."]), Ok("a.b".into()));
        assert_eq!(host("/", &["a.b.:80"]), Ok("a.b".into()));
        assert_eq!(host("http://a.b/", &["A.b"]), Ok("a.b".into()));
        assert_eq!(host("http://a.b/", &[]), Ok("a.b".into()));
    }

    #[test]
    fn anything_else_is_refused() {
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a@b"],
            &["x/y"],
            &["a, b"],
            &["a b"],
            &[""],
            &["a:99999"],
            &["a:80:80"],
            &["[::1"],
            &["[zz]"],
            &["::1"],
            &["\u{e9}"],
            &["."],
            &[".a"],
            &["a..b"],
            &["a.."],
        ] {
            assert!(host("/", hosts).is_err(), "{hosts:?}");
        }
        assert!(host("/", &[&"a".repeat(10_000)]).is_err());
        assert!(host("http://a/", &["b"]).is_err());
        assert!(host("http://a:80/", &["a:81"]).is_err());
    }
}
