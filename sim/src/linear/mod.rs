//! Linearizability of histories.
//!
//! A history is linearizable if every operation can be given one point in time between its invocation
//! and its completion so that, one after the other in this order, they do and show what they did.
//! Wing and Gong, *Testing and verifying concurrent objects* (1993), search for such an order; Lowe,
//! *Testing for linearizability* (2017), places operations only when one has to return and remembers
//! the configurations he has met; Horn and Kroening, *Faster linearizability checking via
//! P-compositionality* (2015), go key by key. All three is what [`search`] does.

pub mod calls;
pub mod check;
pub mod cli;
pub mod edn;
pub mod evidence;
pub mod history;
pub mod kv;
pub mod model;
mod problem;
pub mod read;
pub mod register;
mod search;
mod seen;
pub mod value;

pub use check::{Budget, Limit, Report, Specification, Undecided, Verdict, check, check_with};
