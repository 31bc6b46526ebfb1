//! A place that the mesh dials, and how often.

use crate::base::ids::{ConnId, DialId};
use crate::base::time::{Mono, Span};

use super::roster::NodeName;

/// The longest pause between attempts to connect.
const BACKOFF_MAX: Span = Span::from_ms(1000);

/// A place to dial.
#[derive(Debug)]
pub struct Target {
    /// Who answered there, once somebody has.
    pub name: Option<NodeName>,
    pub seed: bool,
    pub state: Attempt,
    backoff: Span,
    /// What was wrong was said.
    pub said: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    Waiting { until: Mono },
    Dialing { dial: DialId, until: Mono },
    Connected { conn: ConnId },
}

impl Target {
    /// A place that the configuration names.
    pub fn seed(now: Mono, backoff: Span) -> Target {
        let state = Attempt::Waiting { until: now };
        Target { name: None, seed: true, state, backoff, said: false }
    }

    /// Where a node was said to be.
    pub fn of(name: NodeName, now: Mono, backoff: Span) -> Target {
        Target { name: Some(name), seed: false, ..Target::seed(now, backoff) }
    }

    /// There is reason to believe that it can be reached now.
    pub fn hurry(&mut self, now: Mono, backoff: Span) {
        if let Attempt::Waiting { until } = &mut self.state {
            *until = now.min(*until);
            self.backoff = backoff;
        }
    }

    /// An attempt, or the connection, has come to nothing.
    pub fn wait(&mut self, now: Mono) {
        self.state = Attempt::Waiting { until: now + self.backoff };
        // A seed that is met again and again is asked less often; so is one that does not answer.
        self.backoff = Span((self.backoff.0 * 2).min(BACKOFF_MAX.0));
        if self.seed && self.name.is_some() {
            self.backoff = BACKOFF_MAX;
        }
    }
}
