//! Clients' commands and how they ended, read off the bytes that a client sends and gets.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::flow::{command_text, keys_of, read_command};
use crate::resp_client::Reply;

/// One client's connection under way.
#[derive(Clone, Debug, Default)]
pub struct ClientStream {
    out: BytesMut,
    inbox: BytesMut,
    /// Indexes of operations without a reply, and how many replies each still gets.
    waiting: VecDeque<(usize, usize)>,
    /// Commands of a transaction that has not ended.
    multi: Option<Vec<Vec<Bytes>>>,
}

/// A command, or a whole transaction, that a client has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub text: String,
    pub keys: Vec<String>,
    pub greeting: bool,
    replies: usize,
}

impl ClientStream {
    /// Reads what the client sends.
    pub fn sent(&mut self, bytes: &[u8]) -> Vec<Asked> {
        self.out.extend_from_slice(bytes);
        let mut asked = Vec::new();
        while let Ok(Some(words)) = read_command(&mut self.out) {
            let name = words.first().map(|w| w.to_ascii_uppercase()).unwrap_or_default();
            match &mut self.multi {
                Some(commands) => {
                    commands.push(words);
                    if name == b"EXEC" || name == b"DISCARD" {
                        let commands = self.multi.take().unwrap_or_default();
                        asked.push(transaction(&commands));
                    }
                }
                None if name == b"MULTI" && !self.out.is_empty() => {
                    self.multi = Some(vec![words]);
                }
                None => asked.push(single(&words, &name)),
            }
        }
        asked
    }

    /// The operation with this index waits for its replies.
    pub fn waits(&mut self, op: usize, asked: &Asked) {
        self.waiting.push_back((op, asked.replies));
    }

    /// Reads what the client gets; operations that end, with their last reply.
    pub fn got(&mut self, bytes: &[u8]) -> Vec<(usize, Reply)> {
        self.inbox.extend_from_slice(bytes);
        let mut ended = Vec::new();
        while let Ok(Some(reply)) = Reply::take(&mut self.inbox) {
            if matches!(reply, Reply::Push(_)) {
                continue;
            }
            let Some((op, left)) = self.waiting.front_mut() else { break };
            *left -= 1;
            if *left == 0 {
                ended.push((*op, reply));
                self.waiting.pop_front();
            }
        }
        ended
    }

    /// The connection is gone: operations that never got their reply.
    pub fn gone(&mut self) -> Vec<usize> {
        self.waiting.drain(..).map(|(op, _)| op).collect()
    }
}

fn single(words: &[Bytes], name: &[u8]) -> Asked {
    let greeting = matches!(name, b"AUTH" | b"HELLO" | b"CLIENT");
    Asked { text: command_text(words), keys: keys_of(words), greeting, replies: 1 }
}

fn transaction(commands: &[Vec<Bytes>]) -> Asked {
    let texts: Vec<String> = commands.iter().map(|words| command_text(words)).collect();
    let mut keys: Vec<String> = commands.iter().flat_map(|words| keys_of(words)).collect();
    keys.sort_unstable();
    keys.dedup();
    Asked { text: texts.join("; "), keys, greeting: false, replies: commands.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::command::encode_words;

    #[test]
    fn replies_go_to_their_commands_and_a_transaction_is_one_operation() {
        let mut out = BytesMut::new();
        encode_words(&mut out, &[b"GET", b"a"]);
        for words in [&[&b"MULTI"[..]][..], &[b"INCR", b"n"], &[b"EXEC"]] {
            encode_words(&mut out, words);
        }
        encode_words(&mut out, &[b"PING"]);
        let mut stream = ClientStream::default();
        let asked = stream.sent(&out);
        let texts: Vec<&str> = asked.iter().map(|a| a.text.as_str()).collect();
        assert_eq!(texts, ["GET a", "MULTI; INCR n; EXEC", "PING"]);
        for (op, asked) in asked.iter().enumerate() {
            stream.waits(op, asked);
        }
        let ended = stream.got(b"$1\r\nx\r\n+OK\r\n+QUEUED\r\n*1\r\n:");
        assert_eq!(ended, [(0, Reply::Bulk(Bytes::from_static(b"x")))]);
        let ended = stream.got(b"7\r\n");
        assert_eq!(ended, [(1, Reply::Array(vec![Reply::Integer(7)]))]);
        assert_eq!(stream.gone(), [2]);
    }
}
