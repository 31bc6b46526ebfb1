//! Strong mode, as far as it goes: who may decide for which partition. Pure functions of the roster; nothing serves by
//! them yet, and `strong-consistency yes` is refused.

pub mod quorum;
pub mod roster;
pub mod succession;

pub use quorum::{VoterSet, may_decide};
pub use roster::{NodeName, RackId, Roster, RosterError, RosterNode};
pub use succession::Succession;
