//! Addresses on a hub: where they lead, and whether two of them are the same host's.
use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

/// An address with `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    /// How much of the text is the origin.
    origin: usize,
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin(String);

impl Url {
    /// The address in `text`; none for another scheme, without a host, or with a user's name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '@' | '\\');
        if !["http", "https"].contains(&&*scheme) || host.is_empty() || host.contains(odd) {
            return None;
        }
        let origin = scheme.len() + "://".len() + host.len();
        let text = format!("{scheme}://{}{}", host.to_ascii_lowercase(), &rest[host.len()..]);
        Some(Self { text, origin })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port, the usual port written out.
    pub(super) fn origin(&self) -> Origin {
        let origin = &self.text[..self.origin];
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = if origin.starts_with("https:") { ":443" } else { ":80" };
        Origin(if has_port { origin.to_owned() } else { format!("{origin}{port}") })
    }

    /// The address of `path`, which begins with a slash, below this one.
    pub(super) fn join(&self, path: &str) -> Self {
        Self { text: format!("{}{path}", self.text), origin: self.origin }
    }

    /// Where a redirect to `location` leads from here.
    pub(super) fn follow(&self, location: &str) -> Option<Self> {
        match location {
            rooted if rooted.starts_with("//") => Self::parse(&format!("{}:{rooted}", self.text.split_once(':')?.0)),
            rooted if rooted.starts_with('/') => {
                Some(Self { text: format!("{}{rooted}", &self.text[..self.origin]), origin: self.origin })
            }
            whole => Self::parse(whole),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Origin {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether it is this machine, which no proxy leads to.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_, host)| host);
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

/// What may be told of `text`, which is no address: nothing that could be a user's name, a password or a query.
pub(super) fn tellable(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    // a password may have slashes in it: up to the last of these signs
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['?', '#']).next().unwrap_or_default();
    if scheme.is_empty() { host.into() } else { format!("{scheme}://{host}") }
}

/// `text` as a part of a path in an address; its slashes stay if `deep`.
pub(super) fn escape(text: &str, deep: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (deep && byte == b'/');
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if plain(byte) {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "%{byte:02X}"); // writing into a String cannot fail
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_tell_hosts_apart() {
        let origin = |text| Url::parse(text).unwrap().origin();
        assert_eq!(origin("https://Hub.test/a"), origin("HTTPS://hub.test:443"));
        assert_eq!(origin("http://hub.test?x"), origin("http://hub.test:80#y"));
        for other in ["http://hub.test", "https://hub.test:444", "https://hub.test.evil", "https://xhub.test"] {
            assert_ne!(origin("https://hub.test"), origin(other), "{other}");
        }
        assert!(origin("http://127.0.0.1:80").is_loopback() && origin("http://[::1]").is_loopback());
        assert!(origin("http://127.1.2.3").is_loopback() && origin("http://localhost:8").is_loopback());
        for other in ["http://localhost.evil", "http://127.evil.test", "http://127.0.0.1.evil.test", "http://[::2]"] {
            assert!(!origin(other).is_loopback(), "{other}");
        }
    }

    #[test]
    fn no_secret_of_an_address_is_told() {
        for (text, told) in [
            ("http://user:pw@hub.test/a", "http://hub.test/a"),
            ("https://user:p/w@a@hub.test?token=pw", "https://hub.test"),
            ("user:pw@hub.test", "hub.test"),
            ("hub", "hub"),
            ("http://hub.test#pw", "http://hub.test"),
        ] {
            assert_eq!(tellable(text), told);
        }
    }

    #[test]
    fn odd_addresses_are_none() {
        for text in [
            "",
            "hub.test",
            "ftp://hub.test",
            "https://",
            "https:///a",
            "https://a@hub.test",
            "http://a b/",
            "http://a\\@b",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn redirects_are_whole_or_rooted() {
        let from = Url::parse("https://hub.test/a/b?c").unwrap();
        assert_eq!(from.follow("/x").unwrap().as_str(), "https://hub.test/x");
        assert_eq!(from.follow("//cdn.test/x").unwrap().as_str(), "https://cdn.test/x");
        assert_eq!(from.follow("http://cdn.test/x?y").unwrap().as_str(), "http://cdn.test/x?y");
        assert_eq!(from.follow("x"), None);
    }

    #[test]
    fn odd_names_become_paths() {
        assert_eq!(escape("unet/a b#?%ä", true), "unet/a%20b%23%3F%25%C3%A4");
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
