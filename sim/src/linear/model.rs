//! Sequential specifications: what one operation after the other would do and show.

use std::fmt::Debug;
use std::hash::Hash;

use super::calls::Call;

/// The operation is none of this model's, or its argument or result makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// True: the completion is wrong; false: the invocation.
    pub completion: bool,
    pub expected: String,
}

/// The specification of one object (one key).
///
/// An operation carries the result it had. *Readers* change nothing, whatever the state; all others
/// are *mutators*. Of operations whose outcome is unknown only mutators count.
pub trait Model {
    type Op: Clone + Ord + Debug;
    type State: Clone + Ord + Hash + Debug;

    fn name(&self) -> &'static str;

    /// The operation with its result; None if it can neither change nor show anything, such as a
    /// read of unknown outcome.
    fn op(&self, call: &Call) -> Result<Option<Self::Op>, Unfit>;

    fn initial(&self) -> Self::State;

    /// True for operations that change nothing in any state.
    fn reads_only(&self, op: &Self::Op) -> bool;

    /// True if a reader shows in this state what it did show.
    fn shows(&self, state: &Self::State, reader: &Self::Op) -> bool;

    /// The state after a mutator; None if it would not have succeeded in this state.
    fn apply(&self, state: &Self::State, mutator: &Self::Op) -> Option<Self::State>;

    /// The one state in which the operation can take effect. A mutator without one always can.
    fn needs<'a>(&self, op: &'a Self::Op) -> Option<&'a Self::State>;

    /// The state that a mutator leaves behind, if it is always the same.
    fn leaves<'a>(&self, op: &'a Self::Op) -> Option<&'a Self::State>;

    /// True if [`Model::grows_into`] tells something and all mutators can always take effect.
    fn looks_ahead(&self) -> bool;

    /// False if after `state` the reader can never show what it did, unless a mutator comes between
    /// that [leaves](Model::leaves) a state of its own.
    fn grows_into(&self, state: &Self::State, reader: &Self::Op) -> bool;

    /// Memory of a state, bytes.
    fn bytes(&self, state: &Self::State) -> usize;

    /// The operation as it would have been in this state; None if it has no result to change.
    fn result_in(&self, op: &Self::Op, state: &Self::State) -> Option<Self::Op>;

    /// What it did and what it was told, for people.
    fn describe(&self, op: &Self::Op) -> String;

    /// What `op` would have met in `state`, for people, and where that differs.
    fn contrast(&self, op: &Self::Op, state: &Self::State) -> String;

    /// How much of its result `op` would have got in `state`; only for comparison.
    fn closeness(&self, op: &Self::Op, state: &Self::State) -> usize;

    /// True if `other` is part of the explanation why `op` fits none of the `expected` states.
    fn concerns(&self, op: &Self::Op, expected: &[Self::State], other: &Self::Op) -> bool;
}
