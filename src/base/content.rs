//! What a key holds, as a client sees it: whole, and without stamps.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::unit::Kind;

/// A key's content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Content {
    String(Bytes),
    /// A collection: never empty, no name twice. What has only names has empty values.
    Elements {
        kind: Kind,
        list: Vec<(Bytes, Bytes)>,
    },
}

impl Content {
    /// Bytes of names and values.
    pub fn bytes(&self) -> usize {
        match self {
            Content::String(value) => value.len(),
            Content::Elements { list, .. } => {
                list.iter().map(|(name, value)| name.len() + value.len()).sum()
            }
        }
    }
}
