//! Floor 2: what clients may ask. The table of commands, its lookup and COMMAND; the handlers of
//! commands that work on data. What belongs to a session or to the server itself is named in
//! the table and done by the node.

mod decimal;
mod errors;
mod expire;
pub mod glob;
mod hashes;
mod introspect;
mod keyspace;
mod memory;
mod object;
mod serialized;
pub mod spec;
mod strings;
pub mod table;

#[cfg(test)]
mod tests;

use crate::base::ids::DbIndex;
use crate::base::rng::Rng;
use crate::store::txn::Txn;
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

pub use self::object::EncodingLimits;
pub use self::spec::{Command, Flags, Handler, SessionCommand};
pub use self::table::{Unresolved, lookup, resolve};

/// What a handler works with. `Args` beside it include the command's name and satisfy its arity.
pub struct Ctx<'c, 't> {
    pub txn: &'c mut Txn<'t>,
    pub db: DbIndex,
    pub reply: Reply<'c>,
    /// The table's entry, for error texts that name the command.
    pub command: &'static Command,
    /// `proto-max-bulk-len`: no string grows beyond it.
    pub bulk_bytes_max: usize,
    pub encodings: EncodingLimits,
    /// What commands draw that choose at random.
    pub rng: &'c mut Rng,
}

/// A command that works on data: writes exactly one reply.
pub type DataHandler = fn(&mut Ctx<'_, '_>, Args<'_>);
