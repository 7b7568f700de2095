//! What does a model hub answer? One request at a time, its redirects followed, with the token for the hub alone.
use super::address::{Origin, Url, tellable};
use crate::{Error, Result};
use std::{fmt, io::Read, sync::Arc, time::Duration};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, header},
    tls::{RootCerts, TlsConfig, parse_pem},
};

/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 8;
/// The longest wait that a hub may ask for before petal gives up, in seconds.
const LONGEST_WAIT: u64 = 300;

/// A secret that is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in `text`, if it is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may go better another time: what was wrong, and how long the hub asks to wait.
    Passing(String, Option<Duration>),
    /// It will not.
    Lasting(Error),
}

impl Fault {
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self::Passing(what.into(), None)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// Asks a hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<Token>,
}

/// An answer that has something: status 200, 206 or 416.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What tells this content from another.
    pub(super) tag: Option<String>,
    /// The hash that the hub itself says: SHA-256 of large files, git's of small ones.
    pub(super) hash: Option<String>,
    /// The bytes of the whole file, as the hub says.
    pub(super) size: Option<u64>,
    /// The first byte of a part, and the bytes of the whole file.
    pub(super) range: Option<(Option<u64>, Option<u64>)>,
    /// The bytes of the body.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
}

impl Client {
    /// Asks the hub at `endpoint`; gives up on a connection after `idle` without a byte.
    pub(super) fn new(endpoint: &str, token: Option<Token>, idle: Duration) -> Result<Self> {
        let plain = Some(endpoint.trim_end_matches('/')).filter(|text| !text.contains(['?', '#']));
        let endpoint = plain.and_then(Url::parse).ok_or_else(|| {
            let what = format!("`{}` is not the address of a hub", tellable(endpoint));
            Error::request(what, "set `HF_ENDPOINT` to an address as https://host, without user name or query")
        })?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("petal/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity") // a part of a compressed file could not be continued
            .timeout_connect(Some(idle))
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle))
            .tls_config(TlsConfig::builder().root_certs(root_certificates()?).build());
        if endpoint.origin().is_loopback() {
            config = config.proxy(None);
        }
        Ok(Self { agent: Agent::new_with_config(config.build()), endpoint, token })
    }

    /// The address of the hub, for messages.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Asks for `path`, from byte `from` on.
    pub(super) fn get(&self, path: &str, from: Option<u64>) -> Result<Answer, Fault> {
        let mut url = self.endpoint.join(path);
        let mut said = Said::default();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(&url, from)?;
            let at_hub = url.origin() == self.endpoint.origin();
            let is_redirect = response.status().is_redirection();
            if at_hub {
                said.hear(response.headers(), is_redirect);
            }
            match response.status().as_u16() {
                200 | 206 | 416 => return Ok(said.answer(response)),
                301 | 302 | 303 | 307 | 308 => url = self.redirect(&url, &response)?,
                status => return Err(self.refusal(status, &response, &url, at_hub)),
            }
        }
        Err(Fault::passing(format!("more than {MOST_REDIRECTS} redirects")))
    }

    fn ask(&self, url: &Url, from: Option<u64>) -> Result<Response<Body>, Fault> {
        let mut request = self.agent.get(url.as_str());
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        // whoever a redirect names is somebody else
        if let Some(Token(token)) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
            Self::check_secrecy(&url.origin())?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let what = error.to_string();
            // who answers will not be another one the next time
            if what.contains("certificate") {
                let hint =
                    "name the certificates of a proxy that looks inside with `SSL_CERT_FILE`, or choose another hub";
                return Error::model(format!("`{}` does not prove who it is: {what}", url.origin()), hint).into();
            }
            Fault::passing(what)
        })
    }

    /// Fails for a host to which the token would travel for everybody to read.
    fn check_secrecy(host: &Origin) -> Result<()> {
        if host.is_encrypted() || host.is_loopback() {
            return Ok(());
        }
        let what = format!("the token would go to `{host}` over an open connection");
        Err(Error::request(what, "set `HF_ENDPOINT` to an address with https://, or take `HF_TOKEN` away"))
    }

    /// Where a redirect leads, unless from an encrypted connection to an open one.
    fn redirect(&self, from: &Url, response: &Response<Body>) -> Result<Url, Fault> {
        let location = text(response.headers(), header::LOCATION.as_str()).unwrap_or_default();
        let Some(to) = from.follow(&location) else {
            return Err(Fault::passing("a redirect that leads nowhere"));
        };
        if from.origin().is_encrypted() && !to.origin().is_encrypted() {
            let what = format!("`{}` redirects to an open connection to `{}`", self.endpoint, to.origin());
            return Err(Error::model(what, "do not use this hub, or set `HF_ENDPOINT` to another").into());
        }
        Ok(to)
    }

    /// What a status means that brings nothing.
    fn refusal(&self, status: u16, response: &Response<Body>, url: &Url, at_hub: bool) -> Fault {
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let host = url.origin();
        match status {
            408 | 425 | 429 | 500..=599 => {
                let what = format!("`{host}` answered {status}");
                let seconds = text(response.headers(), header::RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
                match seconds {
                    Some(seconds) if seconds > LONGEST_WAIT => Fault::Lasting(Error::model(
                        format!("{what} and asks to wait for {seconds} seconds"),
                        "try again later; with a token in `HF_TOKEN` a hub allows more",
                    )),
                    seconds => Fault::Passing(what, seconds.map(Duration::from_secs)),
                }
            }
            401 | 403 if at_hub && code != "RepoNotFound" => {
                let hint = if self.token.is_some() {
                    "accept the model's licence on its page at the hub, and check that `HF_TOKEN` is a token that may read it"
                } else {
                    "accept the model's licence on its page at the hub, and set `HF_TOKEN` to a token of your account"
                };
                Error::model(format!("`{host}` answered {status}: this model is not open to everybody"), hint).into()
            }
            401 | 403 | 404 | 410 => {
                let what = match &*code {
                    "RepoNotFound" => "there is no such repository, or it is not open to you",
                    "RevisionNotFound" => "there is no such revision",
                    _ => "there is no such file",
                };
                let hint = "check `repo`, `revision` and `files` of the model's entry, and `HF_ENDPOINT`";
                Error::model(format!("`{host}` answered {status}: {what}"), hint).into()
            }
            _ => {
                let hint = "check that `HF_ENDPOINT` is the address of a hub";
                Error::model(format!("`{host}` answered {status}, which petal does not understand"), hint).into()
            }
        }
    }
}

/// What the hub says of a file, before and after it sends elsewhere.
#[derive(Default)]
struct Said {
    tag: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

impl Said {
    /// Takes in what the hub says with a redirect, whose own tag is not the file's, or with the file.
    fn hear(&mut self, headers: &HeaderMap, is_redirect: bool) {
        let own = text(headers, header::ETAG.as_str()).filter(|_| !is_redirect && self.tag.is_none());
        if let Some(tag) = text(headers, "x-linked-etag").or(own).map(plain_tag) {
            self.hash = super::is_hash(&tag).then(|| tag.to_ascii_lowercase());
            self.tag = Some(tag);
        }
        self.size = text(headers, "x-linked-size").and_then(|text| text.parse().ok()).or(self.size);
    }

    fn answer(self, response: Response<Body>) -> Answer {
        let headers = response.headers();
        let tag = self.tag.or_else(|| text(headers, header::ETAG.as_str()).map(plain_tag));
        let range = text(headers, header::CONTENT_RANGE.as_str()).map(|text| parse_range(&text));
        let length = text(headers, header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let status = response.status().as_u16();
        Answer { status, tag, hash: self.hash, size: self.size, range, length, body: response.into_body() }
    }
}

impl Answer {
    /// The whole body, if it has at most `limit` bytes.
    pub(super) fn read(self, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let read = self.body.into_reader().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Fault::passing(error.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(Error::model("a list of files is longer than any hub's", "check `HF_ENDPOINT`").into());
        }
        Ok(bytes)
    }
}

/// First byte and whole length of `bytes 5-9/10`, `bytes */10` or `bytes 5-9/*`.
fn parse_range(text: &str) -> (Option<u64>, Option<u64>) {
    let (part, whole) = text.trim_start_matches("bytes").trim().split_once('/').unwrap_or_default();
    let first = part.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
    (first, whole.trim().parse().ok())
}

/// An entity tag without its quotes, strong or weak.
fn plain_tag(tag: String) -> String {
    let plain = tag.trim_start_matches("W/").trim_matches('"');
    if plain.len() == tag.len() { tag } else { plain.to_owned() }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| text.trim().to_owned())
}

/// The certificates that are trusted: those in the file that `SSL_CERT_FILE` names, as behind a proxy that looks inside, or
/// else Mozilla's.
fn root_certificates() -> Result<RootCerts> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let pem = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::Specific(Arc::new(certificates.collect())))
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_all_their_forms() {
        assert_eq!(parse_range("bytes 5-9/10"), (Some(5), Some(10)));
        assert_eq!(parse_range("bytes */10"), (None, Some(10)));
        assert_eq!(parse_range("bytes 5-9/*"), (Some(5), None));
        assert_eq!(parse_range("lines 5"), (None, None));
    }

    #[test]
    fn tags_lose_their_quotes() {
        for tag in ["\"a\"", "W/\"a\"", "a"] {
            assert_eq!(plain_tag(tag.into()), "a");
        }
    }

    #[test]
    fn a_token_is_one_word_and_never_printed() {
        assert!(Token::new("  ").is_none() && Token::new("a\nb").is_none() && Token::new("a b").is_none());
        let token = Token::new(" hf_secret\n").unwrap();
        assert_eq!(token.0, "hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
    }
}
