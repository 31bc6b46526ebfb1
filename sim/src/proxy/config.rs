//! The words of a `proxy` line.

use std::fmt;

use quorate::base::io::HostPort;
use quorate::base::time::Span;

/// How a proxy runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyConfig {
    pub port: u16,
    pub balance: Balance,
    /// At least one.
    pub servers: Vec<HostPort>,
    /// The time between two checks of a server.
    pub inter: Span,
    /// So many checks in a row must succeed, or fail, until a server is taken for well, or for ill.
    pub rise: u32,
    pub fall: u32,
}

/// Which healthy server a connection goes to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The first one of the list.
    First,
}

/// Why words are no proxy's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProxyError {
    UnknownWord(String),
    /// A word without its value.
    Missing(String),
    BadValue {
        word: String,
        value: String,
        expected: &'static str,
    },
    NoServer,
}

impl Balance {
    pub fn name(self) -> &'static str {
        match self {
            Balance::RoundRobin => "roundrobin",
            Balance::First => "first",
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::UnknownWord(word) => write!(f, "proxy: unknown word \"{word}\""),
            ProxyError::Missing(word) => write!(f, "proxy: \"{word}\" without a value"),
            ProxyError::BadValue { word, value, expected } => {
                write!(f, "proxy: bad value \"{value}\" for \"{word}\", expected {expected}")
            }
            ProxyError::NoServer => write!(f, "proxy: no --server HOST:PORT"),
        }
    }
}

impl ProxyConfig {
    /// Reads `--port 6379 --balance first --server node1:6379 … --inter 1s --rise 2 --fall 3`.
    ///
    /// # Errors
    /// The word that is wrong.
    pub fn from_words(words: &[String]) -> Result<ProxyConfig, ProxyError> {
        let mut config = ProxyConfig {
            port: 6379,
            balance: Balance::RoundRobin,
            servers: Vec::new(),
            inter: Span::from_secs(2),
            rise: 2,
            fall: 3,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let known = ["--port", "--balance", "--server", "--inter", "--rise", "--fall"];
            if !known.contains(&word.as_str()) {
                return Err(ProxyError::UnknownWord(word.clone()));
            }
            let value = words.next().ok_or_else(|| ProxyError::Missing(word.clone()))?;
            let bad = |expected| ProxyError::BadValue {
                word: word.clone(),
                value: value.clone(),
                expected,
            };
            let checks = || {
                let count = value.parse().ok().filter(|n| (1..=100).contains(n));
                count.ok_or_else(|| bad("a number from 1 to 100"))
            };
            match word.as_str() {
                "--port" => config.port = port(value).ok_or_else(|| bad("a port"))?,
                "--balance" => {
                    config.balance = match value.as_str() {
                        "roundrobin" => Balance::RoundRobin,
                        "first" => Balance::First,
                        _ => return Err(bad("roundrobin or first")),
                    }
                }
                "--server" => {
                    config.servers.push(server(value).ok_or_else(|| bad("HOST:PORT"))?);
                }
                "--inter" => {
                    config.inter = span(value).ok_or_else(|| bad("a time such as `1s`"))?
                }
                "--rise" => config.rise = checks()?,
                _ => config.fall = checks()?,
            }
        }
        if config.servers.is_empty() { Err(ProxyError::NoServer) } else { Ok(config) }
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

fn server(text: &str) -> Option<HostPort> {
    let (host, number) = text.split_once(':')?;
    let host = Some(host).filter(|host| !host.is_empty())?.to_owned();
    Some(HostPort { host, port: port(number)? })
}

/// Whole milliseconds or seconds, as HAProxy has them.
fn span(text: &str) -> Option<Span> {
    let ms = match text.strip_suffix("ms") {
        Some(ms) => ms.parse::<u64>().ok()?,
        None => text.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1000)?,
    };
    (1..=3_600_000).contains(&ms).then(|| Span::from_ms(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<ProxyConfig, ProxyError> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        ProxyConfig::from_words(&words)
    }

    #[test]
    fn words_are_read() {
        let config = read(
            "--port 7000 --balance first --server a:1 --server b:2 --inter 500ms --rise 1 --fall 2",
        );
        let host = |host: &str, port| HostPort { host: host.to_owned(), port };
        let expected = ProxyConfig {
            port: 7000,
            balance: Balance::First,
            servers: vec![host("a", 1), host("b", 2)],
            inter: Span::from_ms(500),
            rise: 1,
            fall: 2,
        };
        assert_eq!(config, Ok(expected));
        let usual = read("--server a:1").unwrap();
        assert_eq!(
            (usual.port, usual.balance, usual.rise, usual.fall),
            (6379, Balance::RoundRobin, 2, 3)
        );
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, said) in [
            ("", "no --server"),
            ("--servers a:1", "unknown word \"--servers\""),
            ("--server", "\"--server\" without a value"),
            ("--server a", "expected HOST:PORT"),
            ("--server :1", "expected HOST:PORT"),
            ("--server a:0", "expected HOST:PORT"),
            ("--server a:1 --balance random", "expected roundrobin or first"),
            ("--server a:1 --inter 1", "expected a time"),
            ("--server a:1 --rise 0", "from 1 to 100"),
            ("--server a:1 --port x", "expected a port"),
        ] {
            let error = read(words).expect_err(words).to_string();
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
