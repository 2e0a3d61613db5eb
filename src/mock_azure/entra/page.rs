//! Pages for a person: as plain as they can be, and everything that came from outside escaped.

/// The frame of every page. The style is part of it, since nothing may be loaded.
fn frame(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem}}\
         label{{display:block;margin:.8rem 0}}input{{width:100%;padding:.4rem;box-sizing:border-box}}\
         button{{padding:.5rem 1rem;margin:.5rem .5rem 0 0}}.trouble{{color:#a00}}</style></head>\
         <body><h1>{title}</h1>{content}<p><small>scoregate mock-azure: nothing here is real.</small></p></body></html>"
    )
}

/// Sign in, to approve what a client in the browser asks for.
pub(super) fn sign_in(name: &str, trouble: Option<&str>) -> String {
    frame("Sign in", &form("", name, trouble))
}

/// Sign in, to approve a device.
pub(super) fn device(code: &str, trouble: Option<&str>) -> String {
    let code = format!("<label>Code <input name=\"user_code\" value=\"{}\" required></label>", escape(code));
    frame("Sign in on a device", &form(&code, "", trouble))
}

/// One sentence.
pub(super) fn said(sentence: &str) -> String {
    frame("Sign in", &format!("<p>{}</p>", escape(sentence)))
}

fn form(more: &str, name: &str, trouble: Option<&str>) -> String {
    let trouble = trouble.map_or_else(String::new, |text| format!("<p class=\"trouble\">{}</p>", escape(text)));
    // Without an action a form goes to its own address, query included.
    format!(
        "{trouble}<form method=\"post\">{more}\
         <label>Name <input name=\"username\" value=\"{}\" autocomplete=\"username\" required></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <button name=\"decision\" value=\"approve\">Approve</button>\
         <button name=\"decision\" value=\"decline\" formnovalidate>Decline</button></form>",
        escape(name)
    )
}

/// A form that a client's own page takes over (OAuth 2.0 Form Post Response Mode). A button, since scripts do not run here.
pub(super) fn form_post(action: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value)))
        .collect();
    let form = format!("<form method=\"post\" action=\"{}\">{fields}<button>Go on</button></form>", escape(action));
    frame("Signed in", &form)
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let hostile = "\"><script>'&";
        for page in [
            sign_in(hostile, Some(hostile)),
            device(hostile, None),
            said(hostile),
            form_post(hostile, &[(hostile, hostile)]),
        ] {
            assert!(!page.contains("<script>"), "{page}");
        }
    }
}
