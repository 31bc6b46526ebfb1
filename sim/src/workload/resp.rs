//! Replies as a client reads them, RESP2 and RESP3.

use bytes::Bytes;

/// One reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `+OK` and the like.
    Status(Bytes),
    Error(Bytes),
    Int(i64),
    Bulk(Bytes),
    Null,
    /// Arrays, sets, pushes; maps flattened.
    Array(Vec<Reply>),
}

/// Bytes that are no reply.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BadReply;

impl Reply {
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Status(text) if &text[..] == b"OK")
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

/// Reads one reply off the front of `data`; `None` if it is not complete yet. Returns its length too.
pub fn read_reply(data: &[u8]) -> Result<Option<(Reply, usize)>, BadReply> {
    let Some((&sign, _)) = data.split_first() else { return Ok(None) };
    let Some(end) = data.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
    let line = &data[1..end];
    let after = end + 2;
    match sign {
        b'+' | b',' | b'(' | b'#' => Ok(Some((Reply::Status(Bytes::copy_from_slice(line)), after))),
        b'-' => Ok(Some((Reply::Error(Bytes::copy_from_slice(line)), after))),
        b':' => Ok(Some((Reply::Int(number(line)?), after))),
        b'_' => Ok(Some((Reply::Null, after))),
        b'$' | b'=' => {
            let length = number(line)?;
            if length < 0 {
                return Ok(Some((Reply::Null, after)));
            }
            let length = usize::try_from(length).map_err(|_| BadReply)?;
            if data.len() < after + length + 2 {
                return Ok(None);
            }
            let body = Bytes::copy_from_slice(&data[after..after + length]);
            Ok(Some((Reply::Bulk(body), after + length + 2)))
        }
        b'*' | b'~' | b'>' | b'%' => {
            let count = number(line)?;
            if count < 0 {
                return Ok(Some((Reply::Null, after)));
            }
            let count = if sign == b'%' { count * 2 } else { count };
            let mut items = Vec::new();
            let mut at = after;
            for _ in 0..count {
                match read_reply(&data[at..])? {
                    Some((item, length)) => {
                        items.push(item);
                        at += length;
                    }
                    None => return Ok(None),
                }
            }
            Ok(Some((Reply::Array(items), at)))
        }
        _ => Err(BadReply),
    }
}

fn number(line: &[u8]) -> Result<i64, BadReply> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(BadReply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_reply_is_incomplete_and_the_whole_is_read() {
        let data = b"*4\r\n:-3\r\n$2\r\nab\r\n$-1\r\n+OK\r\n";
        for end in 0..data.len() {
            assert_eq!(read_reply(&data[..end]), Ok(None), "{end}");
        }
        let (reply, length) = read_reply(data).unwrap().unwrap();
        assert_eq!(length, data.len());
        let items = vec![
            Reply::Int(-3),
            Reply::Bulk(Bytes::from_static(b"ab")),
            Reply::Null,
            Reply::Status(Bytes::from_static(b"OK")),
        ];
        assert_eq!(reply, Reply::Array(items));
    }

    #[test]
    fn maps_nulls_and_rubbish_of_resp3() {
        let (reply, _) = read_reply(b"%1\r\n+a\r\n_\r\n").unwrap().unwrap();
        let a = Reply::Status(Bytes::from_static(b"a"));
        assert_eq!(reply, Reply::Array(vec![a, Reply::Null]));
        assert_eq!(read_reply(b"hello\r\n"), Err(BadReply));
    }
}
