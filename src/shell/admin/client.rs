//! A small client: one connection, one request at a time, RESP2.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
/// A node that hangs still accepts connections.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// A node that holds many records takes a while to count them.
const ANSWER: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 16 << 20;
const DEPTH_MAX: u8 = 8;

/// Where a node is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Address { host, port } = self;
        // Without brackets an IPv6 address and its port are one.
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Simple and bulk strings; a number as it is written.
    Text(String),
    Error(String),
    Nil,
    Array(Vec<Value>),
}

impl Value {
    /// An array of names, each followed by its value.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        let Value::Array(items) = self else { return BTreeMap::new() };
        let texts = items.chunks_exact(2).filter_map(|pair| {
            let [Value::Text(name), Value::Text(value)] = pair else { return None };
            Some((name.clone(), value.clone()))
        });
        texts.collect()
    }

    /// Lines of `name:value`.
    pub fn lines(&self) -> BTreeMap<String, String> {
        let Value::Text(text) = self else { return BTreeMap::new() };
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// A connection to a server.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects, and says the password if there is one.
    ///
    /// # Errors
    /// What went wrong, without the address.
    pub fn connect(to: &Address, password: Option<&str>) -> Result<Client, String> {
        let found = (to.host.as_str(), to.port).to_socket_addrs().map_err(|e| e.to_string())?;
        let mut last = "the name has no address".to_owned();
        for address in found {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    let timed = stream
                        .set_read_timeout(Some(FIRST_ANSWER))
                        .and_then(|()| stream.set_write_timeout(Some(ANSWER)));
                    timed.map_err(|e| e.to_string())?;
                    let mut client = Client { reader: BufReader::new(stream) };
                    if let Some(password) = password {
                        client.ask(&["AUTH", password])?;
                    }
                    return Ok(client);
                }
                Err(error) => last = describe(&error),
            }
        }
        Err(last)
    }

    /// The answer to a command.
    ///
    /// # Errors
    /// The server's error as it is, or what is wrong with the connection.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.reader.get_mut().write_all(request.as_bytes()).map_err(|e| describe(&e))?;
        let answer = self.value(DEPTH_MAX).map_err(|e| describe(&e))?;
        self.reader.get_ref().set_read_timeout(Some(ANSWER)).map_err(|e| describe(&e))?;
        if let Value::Error(text) = answer { Err(text) } else { Ok(answer) }
    }

    fn value(&mut self, depth: u8) -> io::Result<Value> {
        let mut line = Vec::new();
        (&mut self.reader).take(BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        let mut chars = text.chars();
        let kind = chars.next();
        let rest = chars.as_str();
        match kind {
            Some('+' | ':') => Ok(Value::Text(rest.to_owned())),
            Some('-') => Ok(Value::Error(rest.to_owned())),
            Some('$') => {
                let Some(length) = length(rest)? else { return Ok(Value::Nil) };
                let mut bytes = vec![0; length + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Some('*') if depth > 0 => {
                let Some(count) = length(rest)? else { return Ok(Value::Nil) };
                (0..count)
                    .map(|_| self.value(depth - 1))
                    .collect::<io::Result<_>>()
                    .map(Value::Array)
            }
            Some(_) | None => Err(foreign()),
        }
    }
}

/// The length of a string or an array; `None` for nil.
fn length(text: &str) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|&number| number <= BYTES_MAX);
    number.map(Some).ok_or_else(foreign)
}

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak the Redis protocol")
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}
