//! OBJECT: how Redis would keep a value. What is stored inside is another matter.

use crate::base::unit::Kind;
use crate::store::{Elements, Value, parse_integer};
use crate::wire::resp::Args;

use super::Ctx;

/// Strings up to here Redis keeps beside their header.
const EMBEDDED_BYTES_MAX: usize = 44;

/// Up to which sizes Redis packs collections: directives of these names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct EncodingLimits {
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
}

impl Default for EncodingLimits {
    fn default() -> EncodingLimits {
        EncodingLimits { hash_max_listpack_entries: 128, hash_max_listpack_value: 64 }
    }
}

impl EncodingLimits {
    fn of_elements(self, elements: Elements<'_>) -> &'static str {
        match elements.kind() {
            Kind::Hash => {
                let longest = self.hash_max_listpack_value;
                let packed = elements.live() <= self.hash_max_listpack_entries
                    && elements
                        .shown()
                        .all(|(name, value)| name.len() <= longest && value.len() <= longest);
                if packed { "listpack" } else { "hashtable" }
            }
        }
    }
}

/// OBJECT ENCODING key
pub(super) fn encoding(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let name = match ctx.txn.get(ctx.db, args.get(2)) {
        None => return ctx.reply.null(),
        Some(Value::Int(_)) => "int",
        Some(Value::Bytes(text)) if parse_integer(text).is_some() => "int",
        Some(Value::Bytes(text)) if text.len() <= EMBEDDED_BYTES_MAX => "embstr",
        Some(Value::Bytes(_)) => "raw",
        Some(Value::Elements(elements)) => ctx.encodings.of_elements(elements),
    };
    ctx.reply.bulk(name.as_bytes());
}
